//! `chunks`: one row per chunk of the objects that are not folded yet.

use sea_orm::entity::prelude::*;

/// A chunk that was committed, or is suspected.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chunks")]
pub struct Model {
    /// The object version.
    #[sea_orm(primary_key, auto_increment = false)]
    pub object_id: i64,
    /// Offset of the first byte, decompressed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub start_offset: i64,
    /// Offset behind the last byte.
    pub end_offset: i64,
    /// Number of the first line, from 1.
    pub first_line: i64,
    /// Lines, blank ones included.
    pub line_count: i64,
    /// What became of it.
    pub state: State,
    /// How often it was tried alone, after it was delivered suspiciously often.
    pub attempts: i32,
    /// Lines that became rows.
    pub inserted: i64,
    /// … that changed rows.
    pub updated: i64,
    /// … whose rows said so already.
    pub unchanged: i64,
    /// … that a later line of the same id outdid.
    pub superseded: i64,
    /// … that stand in `rejected_lines`.
    pub rejected: i64,
    /// Lines that hold nothing: with the counts before they are as many as were read.
    pub blank: i64,
    /// The lines that outdid lines of this chunk, as JSON; nothing where there are none.
    pub outdone_by: Option<String>,
    /// Whether it was dead before the epoch in force began: no claim of its lines is left.
    pub unclaimed: bool,
    /// When it was committed.
    pub committed_at: DateTimeUtc,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum State {
    /// Its rows and this entry were committed together.
    Committed,
    /// It was committed, and is to be committed again because a new epoch began. Its counts stay.
    Forgotten,
    /// It was delivered so often that it is tried alone.
    Suspect,
    /// It crashed its writer too often and is given up.
    Dead,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
