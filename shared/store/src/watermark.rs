//! The settled watermark, and the number of the next object.

use jetline_core::ObjectId;
use sea_orm::ConnectionTrait;

use crate::{Error, statement::query};

#[derive(sea_orm::FromQueryResult)]
pub(crate) struct Number {
    pub(crate) number: i64,
}

/// The number after that of the last registered object, also if it was removed.
const NEXT: &str = "(SELECT MAX(number) + 1 FROM
    (SELECT MAX(id) AS number FROM objects UNION ALL SELECT last_object FROM ledger) AS last)";

/// The first object that is not settled.
pub(crate) async fn settled(db: &impl ConnectionTrait) -> Result<ObjectId, Error> {
    let open = "SELECT MIN(id) FROM objects WHERE state NOT IN ('done', 'failed')";
    let sql = format!("SELECT COALESCE(({open}), {NEXT}) AS number");
    number(db, "read the settled watermark", &sql).await
}

/// The number of the next object.
pub(crate) async fn next_object(db: &impl ConnectionTrait) -> Result<ObjectId, Error> {
    number(db, "read the last object", &format!("SELECT {NEXT} AS number")).await
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
