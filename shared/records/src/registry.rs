//! The list of all datasets.

use crate::{Record, Rejection, Row, Table, parse::parse, products};

/// Shows every dataset to a registry. A new dataset is one line here.
pub fn register(registry: &mut impl Registry) {
    registry.add::<products::Model>();
}

/// Something that wants to know every dataset by its type: the writer's parsers, the API's endpoints.
pub trait Registry {
    /// Takes note of one dataset.
    fn add<R: Record>(&mut self);
}

/// A dataset apart from its type.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name.
    pub name: &'static str,
    /// Its table.
    pub table: Table,
    /// From a line, without its newline, to a row.
    pub parse: fn(&[u8]) -> Result<Row, Rejection>,
}

impl Registry for Vec<Dataset> {
    fn add<R: Record>(&mut self) {
        self.push(Dataset {
            name: R::NAME,
            table: Table::of::<R>(),
            parse: parse::<R>,
        });
    }
}

/// All datasets.
#[must_use]
pub fn datasets() -> Vec<Dataset> {
    let mut datasets = Vec::new();
    register(&mut datasets);
    datasets
}
