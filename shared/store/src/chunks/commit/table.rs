//! Checks that rows can be written to a dataset's table.

use jetline_records::Table;
use sea_orm::{ConnectionTrait, FromQueryResult};

use super::upsert;
use crate::{ChunkLedger, Error, dialect, statement::query};

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
    let (sql, name) = dialect::of(db).required_columns(table);
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
