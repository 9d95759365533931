//! `objects`: one row per object version.

use sea_orm::entity::prelude::*;

/// An object version and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "objects")]
pub struct Model {
    /// The object sequence.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Random: tells this registration from another of the same number in a database that was restored.
    pub registration: String,
    /// What its lines are.
    pub dataset: String,
    /// `s3://bucket` or `file:///directory`.
    pub root: String,
    /// The path below the root.
    pub key: String,
    /// What changes with the content.
    pub etag: String,
    /// Bytes, as stored.
    pub size: i64,
    /// When it was written.
    pub last_modified: DateTimeUtc,
    /// Where it is cut: with these three, every reading cuts it at the same places.
    pub chunk_bytes: i64,
    /// How many lines a chunk has at most; nothing where only its bytes are bounded.
    pub chunk_lines: Option<i64>,
    /// The longest line, in bytes.
    pub max_line_bytes: i64,
    /// How far it is.
    pub state: State,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether what is missing cannot be read any more.
    pub unreadable: bool,
    /// Why it could not be read the last time, where that says nothing against it: it stays open.
    pub refusal: Option<String>,
    /// How often that was so, one time after another.
    pub refusals: i64,
    /// Until when it is not tried again, in milliseconds since 1970 by the database's clock.
    pub retry_at: Option<i64>,
    /// Whether its failure was dismissed: runs do not count it any more.
    pub dismissed: bool,
    /// Whether its rows are written even where they seem to say the same already.
    pub rewrite: bool,
    /// How often its reading was begun.
    pub readings: i64,
    /// Bytes, decompressed; known when it was read to the end.
    pub total_bytes: Option<i64>,
    /// Lines, blank ones included; known when it was read to the end.
    pub total_lines: Option<i64>,
    /// Which fetcher is reading it.
    pub lease_owner: Option<String>,
    /// Until when, in milliseconds since 1970 by the database's clock.
    pub lease_until: Option<i64>,
    /// Bytes, decompressed, of the chunks that were folded into this row.
    pub folded_bytes: i64,
    /// Lines of folded chunks that became rows.
    pub inserted: i64,
    /// … that changed rows.
    pub updated: i64,
    /// … whose rows said so already.
    pub unchanged: i64,
    /// … that a later line of the same id outdid.
    pub superseded: i64,
    /// … that stand in `rejected_lines`.
    pub rejected: i64,
    /// When it was first seen.
    pub registered_at: DateTimeUtc,
    /// When it was done or failed.
    pub done_at: Option<DateTimeUtc>,
}

/// How far an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum State {
    /// Known, not read yet.
    Registered,
    /// A fetcher reads it.
    Reading,
    /// Read to the end; not all chunks are committed.
    Loading,
    /// Every chunk is committed.
    Done,
    /// It ended with an error; what could be read is committed.
    Failed,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
