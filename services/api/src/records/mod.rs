//! Records by id: loaded many at a time, cached, serialized once.

mod cache;
pub(crate) mod document;
mod endpoints;
mod loader;
mod rendered;
mod served;
mod stream;

pub(crate) use endpoints::RecordApi;
pub(crate) use served::Served;
