//! Refusals: objects could not be read for a reason that is not a fault of them, such as an expired token. They stay
//! open.

use std::time::Duration;

use jetline_core::ObjectId;
use sea_orm::{FromQueryResult, Value};

use super::ObjectLedger;
use crate::{
    Error,
    dialect::{self, is_unleased},
    statement::{execute, placeholders, query},
};

/// A refused attempt to read an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The object.
    pub object: ObjectId,
    /// Why it was refused.
    pub reason: String,
    /// How long it is not leased again.
    pub delay: Duration,
}

/// An object that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenObject {
    /// Its number.
    pub object: ObjectId,
    /// Whether the last attempt to read it was refused, and no fetcher reads it now.
    pub refused: bool,
    /// Whether its chunks cover it and some of them are dead: it ends when everything below it has.
    pub dead: bool,
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    refused: bool,
    dead: bool,
}

impl ObjectLedger {
    /// Records refusals and ends the leases; published chunks of the objects stay valid. Returns the number of leases
    /// that `owner` still had.
    pub async fn record_refusals(&self, refusals: &[Refusal], owner: &str) -> Result<u64, Error> {
        if refusals.is_empty() {
            return Ok(0);
        }
        let rows: Vec<String> =
            (0..refusals.len()).map(|row| format!("({})", placeholders(2 + row * 3, 3))).collect();
        let sql = format!(
            "WITH refused (id, reason, delay) AS (VALUES {})
             UPDATE objects SET state = 'registered', lease_owner = NULL, lease_until = NULL,
                 refusal = refused.reason, refusals = objects.refusals + 1, retry_at = {} + refused.delay
             FROM refused
             WHERE objects.id = refused.id AND objects.lease_owner = $1 AND objects.state = 'reading'",
            rows.join(", "),
            dialect::of(&self.db).milliseconds()
        );
        let mut values = vec![Value::from(owner)];
        for refusal in refusals {
            let delay = i64::try_from(refusal.delay.as_millis()).unwrap_or(i64::MAX / 2);
            values.push(refusal.object.get().into());
            values.push(refusal.reason.clone().into());
            values.push(delay.into());
        }
        execute(&self.db, "record refusals", &sql, values).await
    }

    /// Makes the refused objects of these roots available at once, with the first delay after the next refusal: the
    /// cause may be fixed.
    pub async fn retry_refused(&self, roots: &[String]) -> Result<u64, Error> {
        if roots.is_empty() {
            return Ok(0);
        }
        let sql = format!(
            "UPDATE objects SET refusals = 0, retry_at = NULL
             WHERE state NOT IN ('done', 'failed') AND refusals > 0 AND root IN ({})",
            placeholders(1, roots.len())
        );
        let roots = roots.iter().map(Value::from);
        execute(&self.db, "retry refused objects", &sql, roots).await
    }

    /// The open objects of these roots, in order, if something blocks them: the first of them was refused, or the first
    /// open object of all is of another root and no fetcher reads it. Otherwise none.
    pub async fn open_objects_if_blocked(
        &self,
        roots: &[String],
    ) -> Result<Vec<OpenObject>, Error> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let of = placeholders(1, roots.len());
        let sql = format!(
            "SELECT o.id, o.state = 'registered' AND o.refusals > 0 AS refused,
                 COALESCE(o.state = 'loading'
                     AND EXISTS (SELECT 1 FROM chunks c WHERE c.object_id = o.id AND c.state = 'dead')
                     AND COALESCE((SELECT SUM(c.end_offset - c.start_offset) FROM chunks c
                         WHERE c.object_id = o.id AND c.state IN ('committed', 'dead')), 0) = o.total_bytes,
                     FALSE) AS dead
             FROM objects o WHERE o.state NOT IN ('done', 'failed') AND o.root IN ({of})
                 AND ((SELECT f.state = 'registered' AND f.refusals > 0 FROM objects f
                         WHERE f.state NOT IN ('done', 'failed') AND f.root IN ({of}) ORDER BY f.id LIMIT 1)
                     OR (SELECT {unread} AND root NOT IN ({of}) FROM objects
                         WHERE state NOT IN ('done', 'failed') ORDER BY id LIMIT 1))
             ORDER BY o.id",
            unread = is_unleased(&self.db)
        );
        let roots = roots.iter().map(Value::from);
        let rows: Vec<Row> = query(&self.db, "read blocked objects", &sql, roots).await?;
        let open = rows.into_iter().filter_map(|row| {
            Some(OpenObject {
                object: ObjectId::new(row.id)?,
                refused: row.refused,
                dead: row.dead,
            })
        });
        Ok(open.collect())
    }
}
