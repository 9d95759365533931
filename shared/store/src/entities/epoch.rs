//! `epoch`: one row, the epoch that commits must be of.

use sea_orm::entity::prelude::*;

/// The epoch; there is one row at most, with `slot` 1.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "epoch")]
pub struct Model {
    /// 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub slot: i32,
    /// The epoch's id, 16 hexadecimal digits.
    pub id: String,
    /// The oldest object that was not settled when it began.
    pub base: i64,
    /// Behind the last object that was registered when it began.
    pub recovery: i64,
    /// `shared`, `off` or `in_order`.
    pub mode: String,
    /// The datasets whose records are written without claims, separated by commas.
    pub write_through: String,
    /// When the database server had started, in its own words; empty for SQLite.
    pub server_started_at: String,
    /// When it began.
    pub began_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
