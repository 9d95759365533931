//! Lines that were not taken.

use sea_orm::{ConnectionTrait, DbErr, EntityTrait, Statement, Value};

use crate::entities::rejected_lines::{Entity, Model};

/// Where a rejected line stands; pages are cut between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The object's number.
    pub object_id: i64,
    /// The line's number, from 1.
    pub line: i64,
}

/// Up to `limit` rejected lines in the order of object and line, those behind `after`; of one object, or of all.
pub async fn list(
    db: &impl ConnectionTrait,
    object: Option<i64>,
    after: Option<Cursor>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let start = after.unwrap_or(Cursor {
        object_id: i64::MIN,
        line: i64::MIN,
    });
    let mut values: Vec<Value> = vec![start.object_id.into(), start.line.into(), limit.into()];
    let mut sql = "SELECT * FROM rejected_lines WHERE (object_id, line) > ($1, $2)".to_owned();
    if let Some(object) = object {
        sql += " AND object_id = $4";
        values.push(object.into());
    }
    sql += " ORDER BY object_id, line LIMIT $3";
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    Entity::find().from_raw_sql(statement).all(db).await
}
