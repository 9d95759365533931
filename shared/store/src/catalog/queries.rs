//! Queries of declarations: in a transaction that only reads, with limits of time, rows and bytes.

use std::time::Duration;

use jetline_datasets::{Column, Query, Type, Value};
use sea_orm::{QueryResult, Statement};

use super::Catalog;
use crate::{
    Error,
    database::query_failed,
    dialect::{self, Dialect},
    statement::named,
};

/// The operation, in errors and statements.
const READ: &str = "run a query";

/// The limits of a query.
#[derive(Clone, Copy, Debug)]
pub struct QueryLimits {
    /// How long it may take.
    pub time: Duration,
    /// The number of rows that are returned.
    pub rows: usize,
}

impl Catalog {
    /// Runs a query with a value for each of its parameters. `each` gets the values of a row, and returns whether it took it;
    /// if not, the query ends. Returns whether there are more rows than `each` took; nothing where it took too long.
    pub async fn query(
        &self,
        query: &Query,
        values: Vec<Value>,
        limits: QueryLimits,
        each: &mut (dyn FnMut(Vec<Value>) -> bool + Send),
    ) -> Result<Option<bool>, Error> {
        let dialect = dialect::of(&self.db);
        let parameters = query.parameters.iter().zip(values);
        let parameters = parameters.map(|(of, value)| match value {
            Value::Null => dialect.null(of.column_type),
            value => dialect.parameter(of.column_type, value),
        });
        let sql = statement(dialect, query, limits.rows);
        let backend = self.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, parameters);
        let (mut taken, mut has_more) = (0, false);
        let mut take = |row: QueryResult| {
            if taken == limits.rows {
                has_more = true;
                return Ok(false);
            }
            let columns = query.columns.iter().enumerate();
            let values = columns.map(|(at, column)| dialect.read(&row, at, column.column_type));
            has_more = !each(values.collect::<Result<Vec<Value>, _>>()?);
            taken += 1;
            Ok(!has_more)
        };
        let run = dialect.run_query(&self.db, named(READ, statement), limits.time, &mut take).await;
        match run.map_err(|error| query_failed(READ, error)) {
            Ok(()) => Ok(Some(has_more)),
            Err(error) if error.is_cancelled() => Ok(None),
            Err(error) => Err(error.of_query()),
        }
    }
}

/// The statement of a query, with one row more than are returned.
fn statement(dialect: &dyn Dialect, query: &Query, rows: usize) -> String {
    let columns: Vec<String> =
        query.columns.iter().map(|column| dialect.query_column(column)).collect();
    let of_query = of_query(dialect, query);
    format!("SELECT {} FROM {of_query} LIMIT {}", columns.join(", "), rows + 1)
}

/// The statement of a query as a relation `q`. It may end with a comment.
pub(crate) fn of_query(dialect: &dyn Dialect, query: &Query) -> String {
    let placeholder = |number: usize, of: Type| dialect.placeholder(number, of);
    format!("(\n{}\n) AS q", query.sql(placeholder))
}

/// A column of a query's relation.
pub(crate) fn name(column: &Column) -> String {
    format!("q.{:?}", column.name)
}
