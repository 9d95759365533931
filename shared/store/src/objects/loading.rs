//! Queries for objects that are not done or failed.

use jetline_core::ObjectId;
use sea_orm::{FromQueryResult, Value};

use super::ObjectLedger;
use crate::{
    Error,
    statement::{placeholders, query},
    watermark::Number,
};

/// An object that was read to the end and is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadingObject {
    /// Its number.
    pub object: ObjectId,
    /// Committed bytes, decompressed.
    pub committed_bytes: u64,
    /// Whether its missing chunks cannot be read any more.
    pub unreadable: bool,
    /// Whether no chunk is missing: it waits for other objects to end.
    pub complete: bool,
    /// Whether chunks that were committed are to be committed again, in a new epoch.
    pub forgotten: bool,
}

#[derive(FromQueryResult)]
struct LoadingRow {
    id: i64,
    unreadable: bool,
    committed_bytes: i64,
    complete: bool,
    forgotten: bool,
}

#[derive(FromQueryResult)]
struct Id {
    id: i64,
}

impl ObjectLedger {
    /// All objects that were read to the end and are not done.
    pub async fn loading(&self) -> Result<Vec<LoadingObject>, Error> {
        let sql = "SELECT o.id, o.unreadable,
                 CAST(COALESCE(SUM(CASE WHEN c.state = 'committed' THEN c.end_offset - c.start_offset END), 0)
                     AS BIGINT) AS committed_bytes,
                 COALESCE(COALESCE(SUM(CASE WHEN c.state IN ('committed', 'dead') THEN c.end_offset - c.start_offset END), 0)
                     = o.total_bytes, FALSE) AS complete,
                 COALESCE(MAX(CASE WHEN c.state = 'forgotten' THEN 1 END), 0) = 1 AS forgotten
             FROM objects o LEFT JOIN chunks c ON c.object_id = o.id AND c.state IN ('committed', 'dead', 'forgotten')
             WHERE o.state = 'loading' GROUP BY o.id, o.unreadable, o.total_bytes ORDER BY o.id";
        let rows: Vec<LoadingRow> = query(&self.db, "read the loading objects", sql, []).await?;
        let loading = rows.into_iter().filter_map(|row| {
            Some(LoadingObject {
                object: ObjectId::new(row.id)?,
                committed_bytes: row.committed_bytes.cast_unsigned(),
                unreadable: row.unreadable,
                complete: row.complete,
                forgotten: row.forgotten,
            })
        });
        Ok(loading.collect())
    }

    /// The objects of these roots with a lower number that are neither done nor failed, in order.
    pub async fn open_before(
        &self,
        number: ObjectId,
        roots: &[String],
    ) -> Result<Vec<ObjectId>, Error> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let next = roots.len() + 1;
        let sql = format!("SELECT id {} AND id < ${next} ORDER BY id", of_open(roots));
        let values = roots.iter().map(Value::from).chain([number.get().into()]);
        let rows: Vec<Id> = query(&self.db, "read the open objects", &sql, values).await?;
        Ok(ids(rows))
    }

    /// How many objects of these roots are neither done nor failed.
    pub async fn count_open(&self, roots: &[String]) -> Result<u64, Error> {
        if roots.is_empty() {
            return Ok(0);
        }
        let sql = format!("SELECT COUNT(*) AS number {}", of_open(roots));
        let roots = roots.iter().map(Value::from);
        let rows: Vec<Number> = query(&self.db, "count the open objects", &sql, roots).await?;
        Ok(rows.first().map_or(0, |row| row.number.cast_unsigned()))
    }

    /// The objects of these roots with this number or a higher one, in order.
    pub async fn registered_since(
        &self,
        since: ObjectId,
        roots: &[String],
    ) -> Result<Vec<ObjectId>, Error> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT id FROM objects WHERE id >= $1 AND root IN ({}) ORDER BY id",
            placeholders(2, roots.len())
        );
        let mut values = vec![Value::from(since.get())];
        values.extend(roots.iter().map(Value::from));
        let rows: Vec<Id> = query(&self.db, "read the registered objects", &sql, values).await?;
        Ok(ids(rows))
    }

    /// Whether every object of these roots is done or failed.
    pub async fn all_settled(&self, roots: &[String]) -> Result<bool, Error> {
        if roots.is_empty() {
            return Ok(true);
        }
        let sql = format!("SELECT id {} ORDER BY id LIMIT 1", of_open(roots));
        let roots = roots.iter().map(Value::from);
        let rows: Vec<Id> = query(&self.db, "look for open objects", &sql, roots).await?;
        Ok(rows.is_empty())
    }
}

fn ids(rows: Vec<Id>) -> Vec<ObjectId> {
    let ids = rows.into_iter().filter_map(|row| ObjectId::new(row.id));
    ids.collect()
}

fn of_open(roots: &[String]) -> String {
    format!(
        "FROM objects WHERE state NOT IN ('done', 'failed') AND root IN ({})",
        placeholders(1, roots.len())
    )
}
