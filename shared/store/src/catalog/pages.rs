//! Records in the order of their keys, in pages.

use jetline_core::Key;
use jetline_datasets::{Column, Dataset, Value};
use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::{
    Catalog,
    records::{READ, StoredRecord, bytes, columns, exists},
};
use crate::{
    Error,
    database::query_failed,
    dialect::{self, Dialect},
    statement::{named, value},
};

/// Selects records.
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    /// Only those with these values in these columns.
    pub values: Vec<(&'a Column, Value)>,
    /// Only those after this key.
    pub after: Option<Key>,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// The records.
    pub records: Vec<StoredRecord>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Catalog {
    /// The selected records that are not deleted in the order of their keys: up to `limit` of them, and none that begins after `bytes` of text.
    pub async fn records_page(
        &self,
        dataset: &Dataset,
        filter: &Filter<'_>,
        limit: u64,
        bytes: usize,
    ) -> Result<RecordPage, Error> {
        let page = self.read_page(dataset, filter, limit, bytes).await;
        page.map_err(|error| query_failed(READ, error))
    }

    async fn read_page(
        &self,
        dataset: &Dataset,
        filter: &Filter<'_>,
        limit: u64,
        bytes: usize,
    ) -> Result<RecordPage, DbErr> {
        let db = &self.db;
        let dialect = dialect::of(db);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX - 1);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let (conditions, of_filter) = conditions(dialect, dataset, filter);
        let values = [limit.into(), bytes.into()].into_iter().chain(of_filter);
        let sql = statement(dialect, dataset, &conditions);
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        let rows = db.query_all_raw(named(READ, statement)).await?;
        let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get("", FOUND))?;
        let records = rows.iter().map(|row| StoredRecord::of(dialect, dataset, row));
        let records = records.collect::<Result<Vec<StoredRecord>, DbErr>>()?;
        let has_more = usize::try_from(found).is_ok_and(|found| found > records.len());
        Ok(RecordPage { records, has_more })
    }
}

/// A name that no column of a record can have: the number of records that were measured.
const FOUND: &str = "jetline_found";

/// Names that no table of a dataset can have.
const MEASURED: &str = "\"#measured\"";
const PLACED: &str = "\"#placed\"";

/// The conditions of a filter and their parameters, from the third on.
fn conditions(
    dialect: &dyn Dialect,
    dataset: &Dataset,
    filter: &Filter<'_>,
) -> (Vec<String>, Vec<sea_orm::Value>) {
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    let mut only = |column: &Column, operator: &str, value: sea_orm::Value| {
        values.push(value);
        let placeholder = dialect.placeholder(values.len() + 2, column.column_type);
        conditions.push(format!("record.{:?} {operator} {placeholder}", column.name));
    };
    for (column, value) in &filter.values {
        only(column, "=", dialect.parameter(column.column_type, value.clone()));
    }
    if let Some(after) = &filter.after {
        only(dataset.key(), ">", value(after));
    }
    conditions.extend(exists(dataset));
    (conditions, values)
}

/// The statement of a page: those of the selected records that begin within the limit of bytes. The records up to the limit,
/// and one more to see whether the list continues, are measured first, so that only the sizes of the others are in memory.
fn statement(dialect: &dyn Dialect, dataset: &Dataset, conditions: &[String]) -> String {
    let (table, key) = (&dataset.name, &dataset.key().name);
    let selected = match conditions {
        [] => String::new(),
        all => format!("WHERE {}", all.join(" AND ")),
    };
    let last = format!(
        "record.{key:?} <= \
         (SELECT jetline_key FROM {PLACED} WHERE starts_at < $2 ORDER BY jetline_key DESC LIMIT 1)"
    );
    let shown: Vec<&str> = conditions.iter().chain([&last]).map(String::as_str).collect();
    format!(
        "WITH {MEASURED} AS MATERIALIZED (\
             SELECT record.{key:?} AS jetline_key, {bytes} AS jetline_bytes FROM {table:?} AS record {selected} \
             ORDER BY record.{key:?} LIMIT $1 + 1), \
         {PLACED} AS (\
             SELECT jetline_key, SUM(jetline_bytes) OVER (ORDER BY jetline_key) - jetline_bytes AS starts_at \
             FROM {MEASURED}) \
         SELECT {columns}, (SELECT COUNT(*) FROM {MEASURED}) AS {FOUND} FROM {table:?} AS record \
         WHERE {shown} ORDER BY record.{key:?} LIMIT $1",
        bytes = bytes(dialect, dataset),
        columns = columns(dialect, dataset),
        shown = shown.join(" AND "),
    )
}
