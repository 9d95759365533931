//! The settled watermark, and the number of the next object.

use jetline_core::ObjectId;
use sea_orm::ConnectionTrait;

use crate::{Error, statement::query};

#[derive(sea_orm::FromQueryResult)]
pub(crate) struct Number {
    pub(crate) number: i64,
}

/// The first object that is not settled.
pub(crate) async fn settled(db: &impl ConnectionTrait) -> Result<ObjectId, Error> {
    let sql = "SELECT COALESCE(
        (SELECT MIN(id) FROM objects WHERE state NOT IN ('done', 'failed')),
        (SELECT MAX(id) + 1 FROM objects), 1) AS number";
    number(db, "read the settled watermark", sql).await
}

/// The number after that of the last registered object.
pub(crate) async fn next_object(db: &impl ConnectionTrait) -> Result<ObjectId, Error> {
    let sql = "SELECT COALESCE(MAX(id), 0) + 1 AS number FROM objects";
    number(db, "read the last object", sql).await
}

async fn number(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
) -> Result<ObjectId, Error> {
    let rows: Vec<Number> = query(db, action, sql, []).await?;
    rows.first()
        .and_then(|row| ObjectId::new(row.number))
        .ok_or_else(|| Error::Corrupt("an object number is beyond 31 bits".to_owned()))
}
