//! Questions that the API asks: records by id, objects with their progress, rejected lines.
//!
//! Each is one statement, however many rows it is about, and runs on PostgreSQL and SQLite alike. Nothing here writes, so a
//! replica can answer.

mod finder;
pub mod objects;
pub mod records;
pub mod rejects;

pub use finder::Finder;
use sea_orm::{ConnectionTrait, DbErr};

/// Succeeds when the database answers and has the tables.
pub async fn ready(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    db.execute_unprepared("SELECT 1 FROM objects LIMIT 1")
        .await
        .map(drop)
}
