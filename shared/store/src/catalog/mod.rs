//! Queries of the API: records by id, objects with their progress, rejected lines.
//!
//! Each is one statement, whatever the number of rows, and runs on PostgreSQL and SQLite. All are read-only, so that a
//! replica can run them. The database truncates long values and ends a list after the requested number of bytes: it
//! sends nothing that is not used.

mod finder;
pub mod objects;
pub mod records;
pub mod rejects;

pub use finder::Finder;

use jetline_core::Key;
use jetline_records::{Record, registry::datasets};
use sea_orm::{ConnectionTrait, DatabaseConnection};

use crate::{Database, Error, database::query_failed, dialect};

/// Maximum number of bytes of a message of a rejected line or an object.
pub const MESSAGE_BYTES: usize = 1 << 10;

/// The queries of a database.
#[derive(Clone, Debug)]
pub struct Catalog {
    db: DatabaseConnection,
}

impl Catalog {
    /// The queries of a database.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { db: database.connection().clone() }
    }

    /// Finds records of a dataset. `keeps` says whether it may keep a connection of the pool between queries.
    #[must_use]
    pub fn finder<R: Record>(&self, keeps: bool) -> Finder<R> {
        Finder::new(self.db.clone(), keeps)
    }

    /// The maximum number of connections that finders can keep: with SQLite none, as there is no gain.
    #[must_use]
    pub fn keepable_connections(&self) -> u32 {
        dialect::of(&self.db).keepable_connections(&self.db)
    }

    /// The dataset and the id of any record, as an example.
    pub async fn any_record(&self) -> Result<Option<(&'static str, Key)>, Error> {
        for dataset in datasets() {
            if let Some(key) = records::any_key(&self.db, &dataset.table).await? {
                return Ok(Some((dataset.name, key)));
            }
        }
        Ok(None)
    }

    /// Runs each query once: records of each dataset, objects, rejected lines.
    pub async fn check(&self) -> Result<(), Error> {
        for dataset in datasets() {
            let read = async {
                let statement = records::by_key(&self.db, &dataset.table, Vec::new())?;
                self.db.query_all_raw(statement).await
            };
            read.await.map_err(|error| query_failed(records::READ, error))?;
        }
        self.objects(&objects::Filter::default(), None, 1).await?;
        self.rejects(None, None, 1, 1).await.map(drop)
    }
}

/// Truncates a message to [`MESSAGE_BYTES`], between two characters.
pub(super) fn shorten(message: &mut String) {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
}
