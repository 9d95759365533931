//! `objects`: one row per object version.

use sea_orm::entity::prelude::*;

/// An object version and its progress.
#[expect(clippy::struct_excessive_bools, reason = "columns of a table")]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "objects")]
pub struct Model {
    /// The object sequence.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Random id. It differs from that of another object that had the same number before the database was restored, and
    /// changes with a replay.
    #[sea_orm(column_name = "registration")]
    pub incarnation: String,
    /// The dataset of its lines.
    pub dataset: String,
    /// The number of the declaration by which its records are parsed.
    pub declaration: i64,
    /// Whether an API wrote it from posted records.
    pub is_posted: bool,
    /// `s3://bucket` or `file:///directory`.
    pub root: String,
    /// The path below the root.
    pub key: String,
    /// The `ETag`.
    pub etag: String,
    /// Bytes, as stored.
    pub size: i64,
    /// When it was last modified.
    pub last_modified: DateTimeUtc,
    /// Target size of a chunk. With this and the next two, every read attempt splits the object at the same offsets.
    pub chunk_bytes: i64,
    /// Maximum number of lines of a chunk; NULL where only its bytes are limited.
    pub chunk_lines: Option<i64>,
    /// The longest line, in bytes.
    pub max_line_bytes: i64,
    /// Its state.
    pub state: State,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether its missing chunks cannot be read any more.
    pub unreadable: bool,
    /// Why the last attempt to read it was refused, for a reason that is not a fault of the object: it stays open.
    pub refusal: Option<String>,
    /// Number of refusals in a row.
    pub refusals: i64,
    /// Earliest time of the next attempt, in milliseconds since 1970 by the database's clock.
    pub retry_at: Option<i64>,
    /// Whether its failure was dismissed: runs do not report it any more.
    pub dismissed: bool,
    /// Whether its rows are written even where the stored content seems to be the same.
    pub rewrite: bool,
    /// Number of read attempts.
    pub readings: i64,
    /// Bytes, decompressed; known when it was read to the end.
    pub total_bytes: Option<i64>,
    /// Lines, blank ones included; known when it was read to the end.
    pub total_lines: Option<i64>,
    /// The fetcher that is reading it.
    pub lease_owner: Option<String>,
    /// Expiry of the lease, in milliseconds since 1970 by the database's clock.
    pub lease_until: Option<i64>,
    /// Bytes, decompressed, of the chunks that were folded into this row.
    pub folded_bytes: i64,
    /// Lines of folded chunks that became rows.
    pub inserted: i64,
    /// … that changed rows.
    pub updated: i64,
    /// … that deleted.
    pub deleted: i64,
    /// … whose rows had the same content.
    pub unchanged: i64,
    /// … that another line of the same id superseded.
    pub superseded: i64,
    /// … that are rejected; the first of them are in `rejected_lines`.
    pub rejected: i64,
    /// When it was registered.
    pub registered_at: DateTimeUtc,
    /// When it was done or failed.
    pub done_at: Option<DateTimeUtc>,
}

/// The state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum State {
    /// To be read.
    Registered,
    /// A fetcher reads it.
    Reading,
    /// Read to the end; some chunks are not committed.
    Loading,
    /// Every chunk is committed.
    Done,
    /// Ended with an error; what could be read is committed.
    Failed,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
