//! PostgreSQL.

pub(crate) mod one_by_one;
mod pooler;
pub(crate) mod tls;
mod upsert;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use jetline_core::{Key, ObjectVersion};
use jetline_records::{Column, IdType, Table};
use sea_orm::{
    ColumnType, DatabaseConnection, DatabaseTransaction, DbErr, Value, sea_query::ArrayType,
};

use crate::{
    dialect::interface::{Dialect, Lock},
    error::Error,
    statement::{execute, value},
    upsert::{UpsertRow, Upserted},
};

/// The key of the advisory lock that commits hold shared; changes of the epoch and ends of objects hold it exclusively.
const EPOCH_LOCK: i64 = 0x6a65_746c_696e_6501;

/// The key of the advisory lock for registering objects.
const REGISTRATION_LOCK: i64 = 0x6a65_746c_696e_6502;

/// Maximum total bytes of root, key and `ETag`: an entry of a B-tree has at most 2,704 bytes.
const MAX_INDEXED_BYTES: usize = 2_500;

pub(crate) struct Postgres;

#[async_trait]
impl Dialect for Postgres {
    fn system(&self) -> &'static str {
        "postgresql"
    }

    fn database_name(&self) -> &'static str {
        "current_database()::text"
    }

    fn server_started_at(&self) -> &'static str {
        "pg_postmaster_start_time()::text"
    }

    fn milliseconds(&self) -> &'static str {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    }

    fn skip_locked(&self) -> &'static str {
        "FOR UPDATE SKIP LOCKED"
    }

    fn octets(&self, column: &str) -> String {
        format!("octet_length({column})")
    }

    fn column_octets(&self, column: &Column) -> Option<String> {
        let name = column.name;
        match column.column_type {
            ColumnType::String(_) | ColumnType::Text | ColumnType::Binary(_) => {
                Some(format!("octet_length({name:?})"))
            }
            ColumnType::Json | ColumnType::JsonBinary => {
                Some(format!("octet_length(CAST({name:?} AS text))"))
            }
            _ => None,
        }
    }

    fn is_any_key(&self) -> &'static str {
        "= ANY($1)"
    }

    fn requested_keys(&self, place: &str) -> String {
        format!("unnest($1) WITH ORDINALITY AS requested (key, {place}) JOIN")
    }

    fn keys(&self, id_type: IdType, keys: Vec<Key>) -> Result<Value, DbErr> {
        let of = match id_type {
            IdType::Int => ArrayType::BigInt,
            IdType::Text => ArrayType::String,
        };
        Ok(Value::Array(of, Some(Box::new(keys.iter().map(value).collect()))))
    }

    fn required_columns(&self, table: &Table) -> (&'static str, String) {
        let sql = "SELECT CAST(attname AS text) AS name FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attnotnull
                 AND NOT atthasdef AND attidentity = ''";
        (sql, format!("\"{}\"", table.name))
    }

    fn refuses(&self, version: &ObjectVersion) -> Option<&'static str> {
        let ObjectVersion { root, key, etag, .. } = version;
        if [root, key, etag].iter().any(|text| text.contains('\0')) {
            return Some("its key has U+0000, which no text of PostgreSQL can hold");
        }
        let too_long = root.len() + key.len() + etag.len() > MAX_INDEXED_BYTES;
        too_long.then_some("its key is longer than an index of PostgreSQL can hold")
    }

    fn keepable_connections(&self, db: &DatabaseConnection) -> u32 {
        db.get_postgres_connection_pool().options().get_max_connections()
    }

    async fn lock(&self, tx: &DatabaseTransaction, lock: Lock) -> Result<(), Error> {
        let (function, key) = match lock {
            Lock::EpochShared => ("pg_advisory_xact_lock_shared", EPOCH_LOCK),
            Lock::EpochExclusive => ("pg_advisory_xact_lock", EPOCH_LOCK),
            Lock::Registration => ("pg_advisory_xact_lock", REGISTRATION_LOCK),
        };
        execute(tx, "lock", &format!("SELECT {function}($1)"), [key.into()]).await.map(drop)
    }

    async fn check(&self, db: &DatabaseConnection, _: &str) -> Result<(), Error> {
        pooler::check(db).await?;
        pooler::check_options(db).await
    }

    async fn check_pooler(&self, db: &DatabaseConnection) -> Result<(), Error> {
        pooler::check(db).await
    }

    async fn close(&self, _: &DatabaseConnection) {}

    async fn has_row_security(
        &self,
        tx: &DatabaseTransaction,
        table: &Table,
    ) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM pg_class WHERE oid = to_regclass($1) AND relrowsecurity";
        let name = format!("\"{}\"", table.name);
        let found = execute(tx, "read the table's policies", sql, [name.into()]).await?;
        Ok(found > 0)
    }

    async fn upsert(
        &self,
        tx: &DatabaseTransaction,
        table: &Table,
        rows: Vec<(usize, UpsertRow)>,
        now: DateTime<Utc>,
        rewrite: bool,
        upserted: &mut Upserted,
    ) -> Result<(), Error> {
        upsert::upsert(tx, table, rows, now, rewrite, upserted).await
    }

    async fn upsert_nothing(
        &self,
        tx: &DatabaseTransaction,
        table: &Table,
        row: UpsertRow,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        upsert::insert_nothing(tx, table, row, now).await
    }

    fn catches_errors(&self) -> bool {
        true
    }

    fn trigger_ends_transaction(&self) -> bool {
        false
    }
}

/// The permanent error of a connection that is refused, by TLS or by a connection pooler.
pub(crate) fn refusal(error: &DbErr) -> Option<Error> {
    tls::refusal(error).or_else(|| pooler::refusal(error))
}
