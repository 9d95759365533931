//! `rejected_lines`: one row per rejected line.

use sea_orm::entity::prelude::*;

/// A rejected line, and why it was rejected.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rejected_lines")]
pub struct Model {
    /// The object version.
    #[sea_orm(primary_key, auto_increment = false)]
    pub object_id: i64,
    /// The line's number, from 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub line: i64,
    /// Offset of its first byte, decompressed.
    pub byte_offset: i64,
    /// The reason, as a stable code.
    pub reason: String,
    /// A description of the error.
    pub message: String,
    /// The line as it was, without its newline; the beginning of it where it was too long.
    pub raw: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
