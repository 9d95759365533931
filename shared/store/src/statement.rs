//! SQL statements with their names.

use jetline_core::Key;
use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};

use crate::error::Error;

/// A key as a parameter.
pub(crate) fn value(key: &Key) -> Value {
    match key {
        Key::Int(id) => (*id).into(),
        Key::Text(id) => id.as_str().into(),
    }
}

/// `count` placeholders `$1, $2, …`, beginning with `first`.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let numbers: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    numbers.join(", ")
}

/// The conditions of a statement, and their parameters.
#[derive(Default)]
pub(crate) struct Conditions {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// None, in a statement that has these parameters already.
    pub(crate) fn after(values: Vec<Value>) -> Self {
        Self { conditions: Vec::new(), values }
    }

    /// Adds a parameter; returns its placeholder.
    pub(crate) fn parameter(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    /// Adds parameters; returns their placeholders.
    pub(crate) fn parameters(&mut self, texts: &[String]) -> String {
        let first = self.values.len() + 1;
        self.values.extend(texts.iter().map(|text| Value::from(text.as_str())));
        placeholders(first, texts.len())
    }

    /// Adds a condition without a parameter of its own.
    pub(crate) fn require(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// Requires that a comparison with the value holds, if there is a value.
    pub(crate) fn only(&mut self, comparison: &str, value: Option<Value>) {
        if let Some(value) = value {
            let placeholder = self.parameter(value);
            self.require(format!("{comparison} {placeholder}"));
        }
    }

    /// Requires that a column has one of the texts, if they are given.
    pub(crate) fn only_of(&mut self, column: &str, texts: Option<&[String]>) {
        if let Some(texts) = texts {
            let of = self.parameters(texts);
            self.require(format!("{column} IN ({of})"));
        }
    }

    /// All conditions; none is `TRUE`.
    pub(crate) fn sql(&self) -> String {
        if self.conditions.is_empty() { "TRUE".to_owned() } else { self.conditions.join(" AND ") }
    }

    /// The parameters.
    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values
    }
}

/// A statement with its name as a comment, by which `pg_stat_statements` and logs of the server show it.
pub(crate) fn named(action: &str, mut statement: Statement) -> Statement {
    statement.sql = named_sql(action, &statement.sql);
    statement
}

/// The text of a statement with its name.
pub(crate) fn named_sql(action: &str, sql: &str) -> String {
    format!("/* {action} */ {sql}")
}

/// Runs a statement and returns the number of affected rows.
pub(crate) async fn execute(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    execute_built(db, action, statement).await
}

/// Runs a statement of sea-orm's query builder and returns the number of affected rows.
pub(crate) async fn execute_built(
    db: &impl ConnectionTrait,
    action: &'static str,
    statement: Statement,
) -> Result<u64, Error> {
    db.execute_raw(named(action, statement))
        .await
        .map(|done| done.rows_affected())
        .map_err(|error| Error::classify(action, error))
}

/// Runs a query and returns its rows.
pub(crate) async fn query<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<T>, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    query_built(db, action, statement).await
}

/// Runs a query of sea-orm's query builder and returns its rows.
pub(crate) async fn query_built<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    action: &'static str,
    statement: Statement,
) -> Result<Vec<T>, Error> {
    let failed = |error| Error::classify(action, error);
    let rows = db.query_all_raw(named(action, statement)).await.map_err(failed)?;
    rows.iter().map(|row| T::from_query_result(row, "").map_err(failed)).collect()
}
