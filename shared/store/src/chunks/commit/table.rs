//! A dataset's table: whether rows can be written to it, and how.

use chrono::{DateTime, Utc};
use jetline_datasets::Dataset;
use sea_orm::{ConnectionTrait, FromQueryResult};

use crate::{
    ChunkLedger, Error, dialect,
    statement::query,
    transaction::Transaction,
    upsert::{self, UpsertRow, Upserted},
};

#[derive(FromQueryResult)]
struct Column {
    name: String,
}

impl ChunkLedger {
    /// Fails on a table with a column that needs a value in every row and is not part of the dataset.
    pub async fn check_table(&self, dataset: &Dataset) -> Result<(), Error> {
        check(&self.db, dataset).await
    }
}

pub(super) async fn check(db: &impl ConnectionTrait, dataset: &Dataset) -> Result<(), Error> {
    let (sql, name) = dialect::of(db).required_columns(dataset);
    let needed: Vec<Column> = query(db, "read the table's columns", sql, [name.into()]).await?;
    let ours = upsert::columns(dataset);
    let foreign = needed.into_iter().find(|column| !ours.contains(&column.name.as_str()));
    match foreign {
        Some(column) => {
            Err(Error::UnknownRequiredColumn { table: dataset.name.clone(), column: column.name })
        }
        None => Ok(()),
    }
}

/// Writes rows, each with the index of its chunk. With `rewrite`, also those whose stored content seems to be the same.
pub(super) async fn upsert(
    tx: &Transaction,
    dataset: &Dataset,
    mut rows: Vec<(usize, UpsertRow)>,
    chunks: usize,
    now: DateTime<Utc>,
    rewrite: bool,
) -> Result<Upserted, Error> {
    let mut upserted = Upserted::of_chunks(chunks);
    if rows.is_empty() {
        return Ok(upserted);
    }
    // All writers lock rows in the same order, so that they cannot deadlock.
    rows.sort_unstable_by(|(_, a), (_, b)| a.row.key.cmp(&b.row.key));
    dialect::of(tx).upsert(tx, dataset, rows, now, rewrite, &mut upserted).await?;
    Ok(upserted)
}
