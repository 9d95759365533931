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

use jetline_records::registry::datasets;
use sea_orm::ConnectionTrait;

use crate::Error;

/// Maximum number of bytes of a message of a rejected line or an object.
pub const MESSAGE_BYTES: usize = 1 << 10;

/// Runs each query of the API once: records of each dataset, objects, rejected lines.
pub async fn ready(db: &impl ConnectionTrait) -> Result<(), Error> {
    for dataset in datasets() {
        let none = std::iter::empty();
        let read = async {
            let statement = records::by_key(db.get_database_backend(), &dataset.table, none)?;
            db.query_all_raw(statement).await
        };
        read.await.map_err(|error| Error::from_query(records::READ, error))?;
    }
    objects::list(db, &objects::Filter::default(), None, 1).await?;
    rejects::list(db, None, None, 1, 1).await.map(drop)
}

/// Truncates a message to [`MESSAGE_BYTES`], between two characters.
pub(super) fn shorten(message: &mut String) {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
}
