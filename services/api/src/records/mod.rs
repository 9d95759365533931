//! The datasets with their records. Records by id are loaded many at a time, cached, and serialized once.

mod cache;
mod datasets;
mod direct;
pub(crate) mod document;
mod endpoints;
mod history;
mod loader;
mod origin;
mod page;
pub(crate) mod parameters;
mod rendered;
mod served;
mod stream;

pub(crate) use datasets::DatasetApi;
pub(crate) use direct::Direct;
pub(crate) use endpoints::RecordApi;
pub(crate) use history::HistoryApi;
pub(crate) use origin::OriginApi;
pub(crate) use served::Served;

use crate::http::problem::{ProblemJson, gone, not_found};

pub(crate) fn no_dataset(name: &str) -> ProblemJson {
    not_found(format!("there is no dataset {name}; /docs lists what there is"))
}

fn no_record(dataset: &str, id: &str) -> ProblemJson {
    not_found(format!("no record of {dataset} has the id {id}"))
}

fn deleted(dataset: &str, id: &str) -> ProblemJson {
    gone(format!("the record of {dataset} with the id {id} was deleted"))
}
