//! Rows that the table does not have, written by `COPY`, which takes half the server's time of an upsert: it writes pages of
//! rows, and does not look for each key again.
//!
//! A copy has no `ON CONFLICT`. It is tried under a savepoint; where it fails, or a trigger suppressed rows, it is taken back,
//! and the rows are left to the upsert, which decides by ranks and says what became of each.

use chrono::{DateTime, Utc};
use jetline_datasets::{Dataset, Value};
use sea_orm::{DbErr, RuntimeErr};
use sqlx::{
    AssertSqlSafe, Encode, Postgres, Row,
    postgres::{PgArgumentBuffer, PgConnection},
};

use super::values::sql_type;
use crate::{
    error::Error,
    statement::named_sql,
    transaction::Transaction,
    upsert::{UpsertRow, columns},
};

const ACTION: &str = "copy records";

const SAVEPOINT: &str = "jetline_copy";

/// An upsert of fewer rows takes less time than the statements around a copy.
pub(super) const MIN_ROWS: usize = 64;

/// The rows are sent in messages of about this size.
const MESSAGE_BYTES: usize = 64 << 10;

/// The signature of the binary format, its flags, and the length of the rest of the header.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Stands for NULL in place of a length, and for the end in place of a number of columns.
const NONE: i32 = -1;
const END: i16 = -1;

/// Writes rows that the table did not have, sorted by key. Returns whether it did; otherwise nothing was written.
pub(super) async fn copy(
    tx: &Transaction,
    dataset: &Dataset,
    rows: &[(usize, UpsertRow)],
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let Some(mut connection) = tx.postgres().await else {
        return Ok(false);
    };
    if !set_savepoint_and_check(&mut connection, dataset).await? {
        return Ok(false);
    }
    let copied = send(&mut connection, dataset, rows, now).await;
    drop(connection);
    match copied {
        Ok(written) if written == rows.len() as u64 => Ok(true),
        Ok(_) => tx.roll_back_to(SAVEPOINT).await.map(|()| false),
        Err(error) if error.may_be_caused_by_row() => {
            tx.roll_back_to(SAVEPOINT).await.map(|()| false)
        }
        Err(error) => Err(error),
    }
}

/// Takes back what [`copy`] has written.
pub(super) async fn take_back(tx: &Transaction) -> Result<(), Error> {
    tx.roll_back_to(SAVEPOINT).await
}

/// Sets a savepoint, which ends with the transaction unless it is rolled back to, and returns whether the table can be copied
/// to: it has no row security and no rules, and its columns are neither generated nor identities and have the very types that
/// are sent. An upsert casts values to the types of the columns; a copy would take their bytes for other values.
async fn set_savepoint_and_check(
    connection: &mut PgConnection,
    dataset: &Dataset,
) -> Result<bool, Error> {
    let types = dataset.stored().map(|column| (&*column.name, sql_type(column.column_type)));
    let own = [
        ("jetline_fingerprint", "bytea"),
        ("jetline_position", "bigint"),
        ("jetline_changed_at", "timestamp with time zone"),
    ];
    let types: Vec<String> =
        types.chain(own).map(|(name, of)| format!("('{name}', '{of}'::regtype)")).collect();
    let sql = format!(
        "SAVEPOINT {SAVEPOINT}; SELECT NOT row_security_active(oid) AND relkind IN ('r', 'p') AND NOT relhasrules
             AND {} = (SELECT count(*) FROM pg_attribute WHERE attrelid = oid AND attidentity = '' AND attgenerated = ''
                 AND (attname, atttypid) IN ({}))
         FROM pg_class WHERE oid = '\"{}\"'::regclass",
        types.len(),
        types.join(", "),
        dataset.name,
    );
    let sql = named_sql("look whether the table can be copied to", &sql);
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await;
    row.and_then(|row| row.try_get(0)).map_err(failed)
}

/// Copies rows, and returns how many were written. Not to be dropped half-way: the driver would return the connection to the pool with an answer that nobody has read.
async fn send(
    connection: &mut PgConnection,
    dataset: &Dataset,
    rows: &[(usize, UpsertRow)],
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    let into: Vec<String> = columns(dataset).iter().map(|name| format!("{name:?}")).collect();
    let sql = format!("COPY {:?} ({}) FROM STDIN (FORMAT binary)", dataset.name, into.join(", "));
    let mut copy = connection.copy_in_raw(&named_sql(ACTION, &sql)).await.map_err(failed)?;
    let mut message = PgArgumentBuffer::default();
    message.extend(HEADER);
    for (_, row) in rows {
        append(&mut message, row, now).map_err(|error| failed(sqlx::Error::Encode(error)))?;
        if message.len() >= MESSAGE_BYTES {
            copy.send(&message[..]).await.map_err(failed)?;
            message.clear();
        }
    }
    message.extend(END.to_be_bytes());
    copy.send(&message[..]).await.map_err(failed)?;
    copy.finish().await.map_err(failed)
}

/// Appends a row in the binary format.
fn append(
    message: &mut PgArgumentBuffer,
    UpsertRow { row, position, .. }: &UpsertRow,
    now: DateTime<Utc>,
) -> Result<(), sqlx::error::BoxDynError> {
    let count = i16::try_from(row.values.len() + 3)?;
    message.extend(count.to_be_bytes());
    for value in &row.values {
        match value {
            Value::Null => message.extend(NONE.to_be_bytes()),
            Value::Text(text) => append_value(message, &text.as_str())?,
            Value::Bigint(integer) => append_value(message, integer)?,
            Value::Numeric(decimal) => append_value(message, decimal)?,
            Value::Double(double) => append_value(message, double)?,
            Value::Boolean(boolean) => append_value(message, boolean)?,
            Value::Date(date) => append_value(message, date)?,
            Value::Timestamp(time) => append_value(message, time)?,
            Value::Uuid(bytes) => append_value(message, &&bytes[..])?,
            // The version of jsonb's format stands before the text.
            Value::Json(text) => {
                message.extend(i32::try_from(text.len() + 1)?.to_be_bytes());
                message.push(1);
                message.extend(text.as_bytes());
            }
        }
    }
    append_value(message, &&row.fingerprint.as_bytes()[..])?;
    append_value(message, &position.get())?;
    append_value(message, &now)
}

/// Appends a value behind its length.
fn append_value<'a>(
    message: &mut PgArgumentBuffer,
    value: &impl Encode<'a, Postgres>,
) -> Result<(), sqlx::error::BoxDynError> {
    let at = message.len();
    message.extend([0; 4]);
    let _ = value.encode_by_ref(message)?;
    let length = i32::try_from(message.len() - at - 4)?;
    message[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn failed(error: sqlx::Error) -> Error {
    Error::classify(ACTION, DbErr::Query(RuntimeErr::SqlxError(error.into())))
}
