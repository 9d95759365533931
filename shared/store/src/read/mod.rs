//! Questions that the API asks: records by id, objects with their progress, rejected lines.
//!
//! Each is one statement, however many rows it is about, and runs on PostgreSQL and SQLite alike. Nothing here writes, so a
//! replica can answer. What a row may hold much of is cut by the database, and a list ends after as many bytes as were asked
//! for: what is not used is not sent.

mod finder;
pub mod objects;
pub mod records;
pub mod rejects;

pub use finder::Finder;

use jetline_records::registry::datasets;
use sea_orm::{ConnectionTrait, DbErr};

/// How many bytes a message has at most, that of a rejected line or of an object.
pub const MESSAGE_BYTES: usize = 1 << 10;

/// Succeeds when the database answers what the API asks it for: records of each dataset, objects, rejected lines.
pub async fn ready(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    for dataset in datasets() {
        let none = std::iter::empty();
        let statement = records::by_key(db.get_database_backend(), &dataset.table, none)?;
        db.query_all_raw(statement).await?;
    }
    objects::list(db, &objects::Filter::default(), None, 1).await?;
    rejects::list(db, None, None, 1, 1).await.map(drop)
}

/// Cuts a message to [`MESSAGE_BYTES`], between two characters.
pub(super) fn shorten(message: &mut String) {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
}
