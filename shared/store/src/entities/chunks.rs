//! `chunks`: one row per chunk of objects whose chunks are not folded into their row yet.

use sea_orm::entity::prelude::*;

/// A chunk that was committed, or is suspected of crashing writers.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chunks")]
pub struct Model {
    /// The object version.
    #[sea_orm(primary_key, auto_increment = false)]
    pub object_id: i64,
    /// Offset of the first byte, decompressed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub start_offset: i64,
    /// Offset after the last byte.
    pub end_offset: i64,
    /// Number of the first line, from 1.
    pub first_line: i64,
    /// Lines, blank ones included.
    pub line_count: i64,
    /// Its state.
    pub state: State,
    /// Number of attempts to commit it alone, after it was delivered too often.
    pub attempts: i32,
    /// Lines that became rows.
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
    /// Blank lines. Their number and the counts before add up to `line_count`.
    pub blank: i64,
    /// The lines that superseded lines of this chunk, as JSON; NULL where there are none.
    pub outdone_by: Option<String>,
    /// The fields of its records that no column takes, as JSON; NULL where there are none.
    pub unknown_fields: Option<String>,
    /// Whether it was dead before the epoch in force began: no claim of its lines is left.
    pub unclaimed: bool,
    /// When it was committed.
    pub committed_at: DateTimeUtc,
}

/// The state of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
pub enum State {
    /// Its rows and this entry were committed together.
    Committed,
    /// It was committed, and is to be committed again because a new epoch began. Its counts are kept.
    Forgotten,
    /// It was delivered so often that it is tried alone, and was not committed before.
    Suspect,
    /// It is suspected of having crashed its writer too often, and is not tried any more.
    Dead,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
