//! Queries of declarations: in a transaction that only reads, with limits of time, rows and bytes.

use std::time::Duration;

use jetline_datasets::{Column, Query, Type, Value};
use sea_orm::{DbErr, QueryResult, Statement};

use super::Catalog;
use crate::{
    Error,
    database::query_failed,
    dialect::{
        self, Dialect,
        query::{is_read_as_text, of_query},
    },
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
    /// The bytes of the texts of a row.
    pub row_bytes: usize,
}

/// How a query ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryEnd {
    /// Its rows were returned.
    Complete {
        /// Whether it has more.
        has_more: bool,
    },
    /// It took too long.
    TimedOut,
    /// It has no rows that can be returned, perhaps because of its parameters; why.
    Refused(String),
}

impl Catalog {
    /// Runs a query with a value for each of its parameters. `each` gets the values of a row, and returns whether it took it;
    /// if not, the query ends.
    pub async fn query(
        &self,
        query: &Query,
        values: Vec<Value>,
        limits: QueryLimits,
        each: &mut (dyn FnMut(Vec<Value>) -> bool + Send),
    ) -> Result<QueryEnd, Error> {
        let dialect = dialect::of(&self.db);
        let parameters = query.parameters.iter().zip(values);
        let parameters = parameters.map(|(of, value)| match value {
            Value::Null => dialect.null(of.column_type),
            value => dialect.parameter(of.column_type, value),
        });
        let sql = statement(dialect, query, limits);
        let backend = self.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, parameters);
        let (mut taken, mut has_more, mut refused) = (0, false, None);
        let mut take = |row: QueryResult| {
            if taken == limits.rows {
                has_more = true;
                return Ok(false);
            }
            match read(dialect, query, &row, limits)? {
                Ok(values) => has_more = !each(values),
                Err(reason) => refused = Some(reason),
            }
            taken += 1;
            Ok(!has_more && refused.is_none())
        };
        let run = dialect.run_query(&self.db, named(READ, statement), limits.time, &mut take).await;
        match run.map_err(|error| query_failed(READ, error)) {
            Ok(()) => Ok(match refused {
                Some(reason) => QueryEnd::Refused(reason),
                None => QueryEnd::Complete { has_more },
            }),
            Err(error) if error.is_cancelled() => Ok(QueryEnd::TimedOut),
            Err(error @ Error::Data { .. }) => Ok(QueryEnd::Refused(error.database_message())),
            Err(error) => Err(error.of_query()),
        }
    }
}

/// The values of a row, or why it cannot be returned.
fn read(
    dialect: &dyn Dialect,
    query: &Query,
    row: &QueryResult,
    limits: QueryLimits,
) -> Result<Result<Vec<Value>, String>, DbErr> {
    let bytes: i64 = row.try_get_by_index(query.columns.len())?;
    if usize::try_from(bytes).map_or(true, |bytes| bytes > limits.row_bytes) {
        return Ok(Err(format!("a row has more than {} bytes", limits.row_bytes)));
    }
    let mut values = Vec::with_capacity(query.columns.len());
    for (at, column) in query.columns.iter().enumerate() {
        let of = column.column_type;
        if !is_read_as_text(of) {
            values.push(dialect.read(row, at, of)?);
            continue;
        }
        let text: Option<String> = row.try_get_by_index(at)?;
        match text.map(|text| of.read_text(&text)).transpose() {
            Ok(value) => values.push(value.unwrap_or(Value::Null)),
            Err(rejection) => {
                return Ok(Err(format!("the column {}: {}", column.name, rejection.message)));
            }
        }
    }
    Ok(Ok(values))
}

/// The statement of a query, with one row more than are returned. Its last column has the bytes of the texts; where they are
/// too many, the texts are not in the result.
fn statement(dialect: &dyn Dialect, query: &Query, limits: QueryLimits) -> String {
    let is_text = |column: &&Column| matches!(column.column_type, Type::Text | Type::Json);
    let octets =
        query.columns.iter().filter(is_text).map(|column| {
            format!("COALESCE({}, 0)", dialect.octets(&dialect.query_column(column)))
        });
    let octets: Vec<String> = std::iter::once("0".to_owned()).chain(octets).collect();
    let bytes = format!("({})", octets.join(" + "));
    let columns = query.columns.iter().map(|column| {
        let value = dialect.query_column(column);
        if is_text(&column) {
            format!("CASE WHEN {bytes} <= {} THEN {value} END", limits.row_bytes)
        } else {
            value
        }
    });
    let columns: Vec<String> = columns.collect();
    let of_query = of_query(query, |number, of| dialect.placeholder(number, of));
    let columns = columns.join(", ");
    format!("SELECT {columns}, CAST({bytes} AS bigint) FROM {of_query} LIMIT {}", limits.rows + 1)
}
