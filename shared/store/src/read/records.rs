//! Records by id.

use chrono::{DateTime, Utc};
use jetline_records::{Fingerprint, IdType, Key, Record, RecordId, Table};
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult, Statement, TryGetError, Value,
    sea_query::ArrayType,
};

/// How PostgreSQL is asked for several ids.
pub(super) const ANY: &str = "= ANY($1)";

/// A record as its row says.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<R> {
    /// The record itself.
    pub record: R,
    /// What it says, in sixteen bytes.
    pub fingerprint: Fingerprint,
    /// When it came to say that.
    pub updated_at: DateTime<Utc>,
}

impl<R: Record> FromQueryResult for Found<R> {
    fn from_query_result(row: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        let fingerprint: Vec<u8> = row.try_get(prefix, "fingerprint")?;
        let fingerprint = Fingerprint::try_from(fingerprint.as_slice())
            .map_err(|error| TryGetError::DbErr(DbErr::Type(format!("fingerprint: {error}"))))?;
        Ok(Self {
            record: R::from_query_result(row, prefix)?,
            fingerprint,
            updated_at: row.try_get(prefix, "updated_at")?,
        })
    }
}

/// The records that have one of these ids, in no order. One statement, and always the same one.
pub async fn find<R: Record>(
    db: &impl ConnectionTrait,
    ids: &[R::Id],
) -> Result<Vec<Found<R>>, DbErr> {
    let backend = db.get_database_backend();
    let table = Table::of::<R>();
    let keys = ids.iter().map(RecordId::key);
    let (condition, bound) = match backend {
        DbBackend::Sqlite => ("IN (SELECT value FROM json_each($1))", json(keys)?),
        _ => (ANY, array(table.id_type, keys)),
    };
    let statement = Statement::from_sql_and_values(backend, sql(&table, condition), [bound]);
    Found::find_by_statement(statement).all(db).await
}

/// The text of the statement.
pub(super) fn sql(table: &Table, condition: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("{:?}", column.name))
        .collect();
    format!(
        "SELECT {}, fingerprint, updated_at FROM {:?} WHERE {:?} {condition}",
        columns.join(", "),
        table.name,
        table.id
    )
}

fn array(id_type: IdType, keys: impl Iterator<Item = Key>) -> Value {
    let of = match id_type {
        IdType::Int => ArrayType::BigInt,
        IdType::Text => ArrayType::String,
    };
    Value::Array(of, Some(Box::new(keys.map(Value::from).collect())))
}

/// SQLite has no arrays to bind, and a placeholder per id would make another statement of every number of ids.
fn json(keys: impl Iterator<Item = Key>) -> Result<Value, DbErr> {
    let ids: Vec<serde_json::Value> = keys
        .map(|key| match key {
            Key::Int(id) => id.into(),
            Key::Text(id) => id.into(),
        })
        .collect();
    let text = serde_json::to_string(&ids).map_err(|error| DbErr::Json(error.to_string()))?;
    Ok(text.into())
}
