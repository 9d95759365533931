//! Queries: SQL statements of a declaration, with typed parameters and columns.

mod statement;

pub(crate) use statement::Statement;

use chrono::{DateTime, Utc};

use crate::{
    Rejection,
    dataset::Column,
    value::{Type, Value},
};

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its name, unique in the dataset.
    pub name: String,
    /// Its parameters.
    pub parameters: Vec<Column>,
    /// The columns of its rows.
    pub columns: Vec<Column>,
    pub(crate) statement: Statement,
}

impl Query {
    /// The statement. `placeholder` writes the parameter with a number, from 1, and a type.
    pub fn sql(&self, placeholder: impl Fn(usize, Type) -> String) -> String {
        self.statement.text(|at| placeholder(at + 1, self.parameters[at].column_type))
    }
}

impl Column {
    /// Reads a value of the column from its text, as a parameter has it. No month of expiry is past.
    pub fn read_text(&self, text: &str) -> Result<Value, Rejection> {
        let value = self.column_type.read_text(text)?;
        self.check(&value, DateTime::<Utc>::MIN_UTC)?;
        Ok(value)
    }
}
