//! Checks that rows can be written to a dataset's table.

use jetline_records::Table;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult};

use super::upsert;
use crate::{ChunkLedger, Error, dialect::query};

#[derive(FromQueryResult)]
struct Column {
    name: String,
}

impl ChunkLedger {
    /// Fails on a table with a column that needs a value in every row and is not part of the dataset.
    pub async fn check_table(&self, table: &Table) -> Result<(), Error> {
        check(&self.db, table).await
    }
}

pub(super) async fn check(db: &impl ConnectionTrait, table: &Table) -> Result<(), Error> {
    let (sql, name) = match db.get_database_backend() {
        DbBackend::Postgres => (
            "SELECT CAST(attname AS text) AS name FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attnotnull
                 AND NOT atthasdef AND attidentity = ''",
            format!("\"{}\"", table.name),
        ),
        _ => (
            "SELECT name FROM pragma_table_info($1) WHERE \"notnull\" = 1 AND dflt_value IS NULL AND pk = 0",
            table.name.to_owned(),
        ),
    };
    let needed: Vec<Column> = query(db, "read the table's columns", sql, [name.into()]).await?;
    let ours = upsert::columns(table);
    let foreign = needed.into_iter().find(|column| !ours.contains(&column.name.as_str()));
    match foreign {
        Some(column) => {
            Err(Error::UnknownRequiredColumn { table: table.name, column: column.name })
        }
        None => Ok(()),
    }
}
