//! Objects that could not be read for a reason that is not theirs, such as an expired token: they stay open.

use std::time::Duration;

use jetline_records::ObjectId;
use sea_orm::{FromQueryResult, Value};

use super::Ledger;
use crate::{
    Error,
    backend::{execute, milliseconds, nobody_reads, placeholders, query},
};

/// How the reading of an object was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub object: ObjectId,
    /// Why.
    pub reason: String,
    /// How long it is not leased again.
    pub delay: Duration,
}

/// An object that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unended {
    /// Which.
    pub object: ObjectId,
    /// Whether its reading was refused and nobody reads it now.
    pub refused: bool,
    /// Whether its chunks tile it and some of them are dead: it ends when everything below it has.
    pub dead: bool,
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    refused: bool,
    dead: bool,
}

impl Ledger {
    /// Notes refusals, and ends the leases; what was published of the objects stays. Returns how many of them nobody else
    /// has.
    pub async fn note_refusals(&self, refusals: &[Refusal], owner: &str) -> Result<u64, Error> {
        if refusals.is_empty() {
            return Ok(0);
        }
        let rows: Vec<String> = (0..refusals.len())
            .map(|row| format!("({})", placeholders(2 + row * 3, 3)))
            .collect();
        let sql = format!(
            "WITH refused (id, reason, delay) AS (VALUES {})
             UPDATE objects SET state = 'registered', lease_owner = NULL, lease_until = NULL,
                 refusal = refused.reason, refusals = objects.refusals + 1, retry_at = {} + refused.delay
             FROM refused
             WHERE objects.id = refused.id AND objects.lease_owner = $1 AND objects.state = 'reading'",
            rows.join(", "),
            milliseconds(&self.db)
        );
        let mut values = vec![Value::from(owner)];
        for refusal in refusals {
            let delay = i64::try_from(refusal.delay.as_millis()).unwrap_or(i64::MAX / 2);
            values.push(refusal.object.get().into());
            values.push(refusal.reason.clone().into());
            values.push(delay.into());
        }
        execute(&self.db, "note refusals", &sql, values).await
    }

    /// Has the refused objects of these roots tried again at once, as if for the first time: what refused them may be
    /// mended.
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

    /// The objects of these roots that are neither done nor failed, in order, and what they wait for; none where neither
    /// the first of them was refused, nor one of other roots is before all of them that nobody reads.
    pub async fn unended_behind_unread(&self, roots: &[String]) -> Result<Vec<Unended>, Error> {
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
            unread = nobody_reads(&self.db)
        );
        let roots = roots.iter().map(Value::from);
        let rows: Vec<Row> = query(&self.db, "read what waits", &sql, roots).await?;
        let unended = rows.into_iter().filter_map(|row| {
            Some(Unended {
                object: ObjectId::new(row.id)?,
                refused: row.refused,
                dead: row.dead,
            })
        });
        Ok(unended.collect())
    }
}
