//! Queries of the API: records by id and in pages, where they come from, objects with their progress, rejected lines.
//!
//! Each is one statement, whatever the number of rows, and runs on PostgreSQL and SQLite. All are read-only, so that a
//! replica can run them. The database truncates long values and ends a list after the requested number of bytes: it
//! sends nothing that is not used.

pub mod deliveries;
mod finder;
pub mod history;
pub mod objects;
pub mod origin;
pub mod pages;
pub mod queries;
pub mod records;
pub mod rejects;
pub mod totals;

pub use finder::Finder;

use std::sync::Arc;

use jetline_core::Key;
use jetline_datasets::{Dataset, Datasets};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::{Database, Error, database::query_failed, dialect, statement::named};

/// Maximum number of bytes of a message of a rejected line or an object.
pub const MESSAGE_BYTES: usize = 1 << 10;

/// The queries of a database.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) db: DatabaseConnection,
}

impl Catalog {
    /// The queries of a database.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { db: database.connection().clone() }
    }

    /// Finds records of a dataset. `keeps` says whether it may keep a connection of the pool between queries.
    #[must_use]
    pub fn finder(&self, dataset: &Arc<Dataset>, keeps: bool) -> Finder {
        Finder::new(self.db.clone(), dataset.clone(), keeps)
    }

    /// The maximum number of connections that finders can keep: with SQLite none, as there is no gain.
    #[must_use]
    pub fn keepable_connections(&self) -> u32 {
        dialect::of(&self.db).keepable_connections(&self.db)
    }

    /// The dataset and the key of any record, as an example.
    pub async fn any_record(
        &self,
        datasets: &Datasets,
    ) -> Result<Option<(Arc<Dataset>, Key)>, Error> {
        for dataset in datasets.iter() {
            let key = records::any_key(&self.db, dataset).await;
            if let Some(key) = key.map_err(|error| query_failed(records::READ, error))? {
                return Ok(Some((dataset.clone(), key)));
            }
        }
        Ok(None)
    }

    /// The text of the declaration with this number.
    pub async fn declaration(&self, number: i64) -> Result<Option<String>, Error> {
        let action = "read a declaration";
        let failed = |error| query_failed(action, error);
        let sql = "SELECT declaration FROM declarations WHERE number = $1";
        let backend = self.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, [number.into()]);
        let row = self.db.query_one_raw(named(action, statement)).await.map_err(failed)?;
        row.map(|row| row.try_get_by_index(0)).transpose().map_err(failed)
    }

    /// Reads each table that queries read: records of each dataset, unknown fields, deliveries, objects, rejected lines.
    pub async fn check(&self, datasets: &Datasets) -> Result<(), Error> {
        for dataset in datasets.iter() {
            self.records(dataset, Vec::new()).await?;
            if dataset.has_history {
                history::check(&self.db, dataset).await?;
            }
        }
        self.unknown_fields("").await?;
        self.deliveries(&deliveries::Filter::default(), None, 1).await?;
        self.objects(&objects::Filter::default(), None, 1).await?;
        self.rejects(&rejects::Filter::default(), None, 1, 1).await.map(drop)
    }
}

/// Truncates a message to [`MESSAGE_BYTES`], between two characters.
pub(super) fn shorten(message: &mut String) {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
}
