//! Who reads which object: a lease that is renewed while working, so that a dead fetcher's objects are taken over.

use std::time::Duration;

use jetline_records::ObjectId;
use sea_orm::{DbBackend, FromQueryResult, Value};

use super::Ledger;
use crate::{
    Error,
    backend::{execute, milliseconds, placeholders, query},
    entities::objects,
};

/// How the reading of an object ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Everything up to `bytes` was published: the end, or where the object is damaged.
    Complete {
        /// Bytes, decompressed, that were read.
        bytes: u64,
        /// Lines in them, blank ones included.
        lines: u64,
        /// What is wrong behind them.
        error: Option<String>,
    },
    /// What is missing cannot be read any more; the object ends failed.
    Unreadable {
        /// Why.
        error: String,
    },
}

/// How much is leased at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Objects at most.
    pub objects: usize,
    /// Bytes, as stored, that they have together at most; one object may have more alone.
    pub bytes: u64,
}

impl Reading {
    /// Bytes, lines, error, and whether what is missing is unreadable.
    fn values(&self) -> [Value; 4] {
        match self {
            Self::Complete {
                bytes,
                lines,
                error,
            } => [
                bytes.cast_signed().into(),
                lines.cast_signed().into(),
                error.clone().into(),
                false.into(),
            ],
            Self::Unreadable { error } => [
                None::<i64>.into(),
                None::<i64>.into(),
                Some(error.clone()).into(),
                true.into(),
            ],
        }
    }
}

impl Ledger {
    /// Takes the oldest objects of these roots that nobody else reads and that are not refused for now, for `term` at
    /// first, in their order.
    ///
    /// What `owner` has leased already it gets again: its reading was broken off, or the answer was lost.
    pub async fn lease(
        &self,
        owner: &str,
        roots: &[String],
        term: Duration,
        batch: Batch,
    ) -> Result<Vec<objects::Model>, Error> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let now = milliseconds(&self.db);
        let roots_list = placeholders(5, roots.len());
        let skip = match self.db.get_database_backend() {
            DbBackend::Postgres => "FOR UPDATE SKIP LOCKED",
            _ => "",
        };
        // Materialized, so that no plan chooses twice and locks more than it takes.
        let sql = format!(
            "WITH free AS MATERIALIZED (
                 SELECT id, size FROM objects
                 WHERE ((state = 'registered' AND (retry_at IS NULL OR retry_at <= {now}))
                     OR (state = 'reading' AND (lease_until < {now} OR lease_owner = $1)))
                     AND root IN ({roots_list})
                 ORDER BY id LIMIT $3 {skip}),
             taken AS MATERIALIZED (
                 SELECT id FROM (SELECT id, SUM(size) OVER (ORDER BY id) AS bytes,
                     ROW_NUMBER() OVER (ORDER BY id) AS place FROM free) AS ordered
                 WHERE bytes <= $4 OR place = 1)
             UPDATE objects
             SET state = 'reading', lease_owner = $1, lease_until = {now} + $2, readings = readings + 1
             WHERE id IN (SELECT id FROM taken)
             RETURNING *"
        );
        let most = i64::try_from(batch.objects).unwrap_or(i64::MAX);
        let bytes = i64::try_from(batch.bytes).unwrap_or(i64::MAX);
        let mut values = vec![
            owner.into(),
            term_ms(term).into(),
            most.into(),
            bytes.into(),
        ];
        values.extend(roots.iter().map(Into::into));
        let rows: Vec<Leased> = query(&self.db, "lease objects", &sql, values).await?;
        let mut leased: Vec<_> = rows.into_iter().map(|row| row.0).collect();
        leased.sort_unstable_by_key(|object| object.id);
        Ok(leased)
    }

    /// Keeps leases for another `term`; returns those that nobody else has.
    pub async fn renew(
        &self,
        objects: &[ObjectId],
        owner: &str,
        term: Duration,
    ) -> Result<Vec<ObjectId>, Error> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "UPDATE objects SET lease_until = {} + $1
             WHERE id IN ({}) AND lease_owner = $2 AND state = 'reading' RETURNING id",
            milliseconds(&self.db),
            placeholders(3, objects.len())
        );
        let mut values = vec![term_ms(term).into(), owner.into()];
        values.extend(objects.iter().map(|object| Value::from(object.get())));
        let kept: Vec<Id> = query(&self.db, "renew leases", &sql, values).await?;
        Ok(ids(kept))
    }

    /// Gives up objects that were not read to the end: anybody may read them at once. One whose reading is finished is not
    /// touched.
    pub async fn release(&self, objects: &[ObjectId], owner: &str) -> Result<(), Error> {
        if objects.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE objects SET state = 'registered', lease_owner = NULL, lease_until = NULL
             WHERE id IN ({}) AND lease_owner = $1 AND state = 'reading'",
            placeholders(2, objects.len())
        );
        let mut values = vec![Value::from(owner)];
        values.extend(objects.iter().map(|object| Value::from(object.get())));
        execute(&self.db, "release leases", &sql, values)
            .await
            .map(drop)
    }

    /// Notes how readings ended, and ends their leases; returns how many of them nobody else has.
    pub async fn finish(
        &self,
        readings: &[(ObjectId, Reading)],
        owner: &str,
    ) -> Result<u64, Error> {
        if readings.is_empty() {
            return Ok(0);
        }
        let rows: Vec<String> = (0..readings.len())
            .map(|row| format!("({})", placeholders(2 + row * 5, 5)))
            .collect();
        let sql = format!(
            "WITH ended (id, bytes, lines, error, unreadable) AS (VALUES {})
             UPDATE objects SET state = 'loading', lease_owner = NULL, lease_until = NULL,
                 refusal = NULL, refusals = 0, retry_at = NULL,
                 total_bytes = COALESCE(objects.total_bytes, ended.bytes),
                 total_lines = COALESCE(objects.total_lines, ended.lines),
                 error = COALESCE(objects.error, ended.error), unreadable = ended.unreadable
             FROM ended
             WHERE objects.id = ended.id AND objects.lease_owner = $1 AND objects.state = 'reading'",
            rows.join(", ")
        );
        let mut values = vec![Value::from(owner)];
        for (object, reading) in readings {
            values.push(object.get().into());
            values.extend(reading.values());
        }
        execute(&self.db, "finish readings", &sql, values).await
    }

    /// Has what is missing of objects read again; returns those that were waiting for their chunks.
    pub async fn reread(&self, objects: &[ObjectId]) -> Result<Vec<ObjectId>, Error> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "UPDATE objects SET state = 'registered' WHERE id IN ({}) AND state = 'loading' RETURNING id",
            placeholders(1, objects.len())
        );
        let values = objects.iter().map(|object| Value::from(object.get()));
        let reopened = query(&self.db, "have objects read again", &sql, values).await?;
        Ok(ids(reopened))
    }
}

fn ids(rows: Vec<Id>) -> Vec<ObjectId> {
    let ids = rows.into_iter().filter_map(|row| ObjectId::new(row.id));
    ids.collect()
}

fn term_ms(term: Duration) -> i64 {
    i64::try_from(term.as_millis()).unwrap_or(i64::MAX / 2)
}

#[derive(FromQueryResult)]
struct Id {
    id: i64,
}

struct Leased(objects::Model);

impl FromQueryResult for Leased {
    fn from_query_result(row: &sea_orm::QueryResult, prefix: &str) -> Result<Self, sea_orm::DbErr> {
        objects::Model::from_query_result(row, prefix).map(Self)
    }
}
