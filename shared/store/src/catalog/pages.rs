//! Records in the order of their keys, in pages.

use jetline_core::Key;
use jetline_datasets::{Column, Dataset, Value};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};

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
        let dialect = dialect::of(&self.db);
        let mut list = List::new(&dataset.name, &dataset.key().name, Order::Ascending);
        for (column, value) in &filter.values {
            let value = dialect.parameter(column.column_type, value.clone());
            list.only(dialect, column, "=", value);
        }
        if let Some(after) = &filter.after {
            list.only(dialect, dataset.key(), ">", value(after));
        }
        list.conditions.extend(exists(dataset));
        let (rows, has_more) = self.read_list(dataset, list, limit, bytes).await?;
        let records = rows.iter().map(|row| StoredRecord::of(dialect, dataset, row));
        Ok(RecordPage { records: records.collect::<Result<_, _>>()?, has_more })
    }

    /// The first rows of a list, and whether there are more.
    pub(super) async fn read_list(
        &self,
        dataset: &Dataset,
        list: List<'_>,
        limit: u64,
        bytes: usize,
    ) -> Result<(Vec<QueryResult>, bool), DbErr> {
        let db = &self.db;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX - 1);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let sql = statement(dialect::of(db), dataset, &list);
        let values = [limit.into(), bytes.into()].into_iter().chain(list.values);
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        let rows = db.query_all_raw(named(READ, statement)).await?;
        let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get("", FOUND))?;
        let has_more = usize::try_from(found).is_ok_and(|found| found > rows.len());
        Ok((rows, has_more))
    }
}

/// The order of a list.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Ascending,
    Descending,
}

/// Rows of a table of a dataset, in the order of a column that is different in each of them.
pub(super) struct List<'a> {
    table: &'a str,
    column: &'a str,
    order: Order,
    conditions: Vec<String>,
    /// The parameters of the conditions, from the third on.
    values: Vec<sea_orm::Value>,
}

impl<'a> List<'a> {
    pub(super) fn new(table: &'a str, column: &'a str, order: Order) -> Self {
        Self { table, column, order, conditions: Vec::new(), values: Vec::new() }
    }

    /// Adds a condition.
    pub(super) fn only(
        &mut self,
        dialect: &dyn Dialect,
        column: &Column,
        operator: &str,
        value: sea_orm::Value,
    ) {
        self.values.push(value);
        let placeholder = dialect.placeholder(self.values.len() + 2, column.column_type);
        self.conditions.push(format!("record.{:?} {operator} {placeholder}", column.name));
    }
}

/// A name that no column of a record can have: the number of records that were measured.
const FOUND: &str = "jetline_found";

/// Names that no table of a dataset can have.
const MEASURED: &str = "\"#measured\"";
const PLACED: &str = "\"#placed\"";

/// The statement of a page: those of the selected records that begin within the limit of bytes. The records up to the limit,
/// and one more to see whether the list continues, are measured first, so that only the sizes of the others are in memory.
fn statement(dialect: &dyn Dialect, dataset: &Dataset, list: &List<'_>) -> String {
    let List { table, column, conditions, .. } = list;
    let (order, until, other_way) = match list.order {
        Order::Ascending => ("", "<=", " DESC"),
        Order::Descending => (" DESC", ">=", ""),
    };
    let selected = match &conditions[..] {
        [] => String::new(),
        all => format!("WHERE {}", all.join(" AND ")),
    };
    let is_shown = format!(
        "record.{column:?} {until} \
         (SELECT jetline_key FROM {PLACED} WHERE starts_at < $2 ORDER BY jetline_key{other_way} LIMIT 1)"
    );
    let shown: Vec<&str> = conditions.iter().chain([&is_shown]).map(String::as_str).collect();
    format!(
        "WITH {MEASURED} AS MATERIALIZED (\
             SELECT record.{column:?} AS jetline_key, {bytes} AS jetline_bytes FROM {table:?} AS record {selected} \
             ORDER BY record.{column:?}{order} LIMIT $1 + 1), \
         {PLACED} AS (\
             SELECT jetline_key, SUM(jetline_bytes) OVER (ORDER BY jetline_key{order}) - jetline_bytes AS starts_at \
             FROM {MEASURED}) \
         SELECT {columns}, jetline_position, (SELECT COUNT(*) FROM {MEASURED}) AS {FOUND} FROM {table:?} AS record \
         WHERE {shown} ORDER BY record.{column:?}{order} LIMIT $1",
        bytes = bytes(dialect, dataset),
        columns = columns(dialect, dataset),
        shown = shown.join(" AND "),
    )
}
