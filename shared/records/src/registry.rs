//! The list of all datasets.

use crate::{Record, Rejection, Row, Table, parse::parse, products};

/// Visits every dataset. A new dataset is one line here.
pub fn register(visitor: &mut impl DatasetVisitor) {
    visitor.visit::<products::Model>();
}

/// Receives every dataset's record type: the writer's parsers, the API's endpoints.
pub trait DatasetVisitor {
    /// Visits one dataset.
    fn visit<R: Record>(&mut self);
}

/// A dataset without its record type.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name.
    pub name: &'static str,
    /// Its table.
    pub table: Table,
    /// Parses a line, without its newline, into a row.
    pub parse: fn(&[u8]) -> Result<Row, Rejection>,
}

impl DatasetVisitor for Vec<Dataset> {
    fn visit<R: Record>(&mut self) {
        self.push(Dataset { name: R::NAME, table: Table::of::<R>(), parse: parse::<R> });
    }
}

/// All datasets.
#[must_use]
pub fn datasets() -> Vec<Dataset> {
    let mut datasets = Vec::new();
    register(&mut datasets);
    datasets
}
