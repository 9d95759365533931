//! Leases: which fetcher reads which object. A fetcher renews its leases; those of a crashed one expire.

use std::time::Duration;

use jetline_core::{ObjectId, ObjectVersion};
use sea_orm::{FromQueryResult, Value};

use super::ObjectLedger;
use crate::{
    Error, dialect,
    entities::objects,
    statement::{execute, placeholders, query},
};

/// A leased object, to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedObject {
    /// Its number.
    pub id: ObjectId,
    /// What to read.
    pub version: ObjectVersion,
    /// Tells it from another object with the same number.
    pub incarnation: String,
    /// The dataset of its lines.
    pub dataset: String,
    /// The number of the declaration by which they are parsed.
    pub declaration: i64,
    /// Whether an API wrote it from posted records.
    pub is_posted: bool,
    /// Target size of a chunk, in bytes. With this and the next two, every attempt splits the object at the same offsets.
    pub chunk_bytes: u64,
    /// Maximum number of lines of a chunk; `None` where only its bytes are limited.
    pub chunk_lines: Option<u64>,
    /// The longest line, in bytes.
    pub max_line_bytes: u64,
    /// The owner of the lease.
    pub owner: String,
    /// Number of attempts to read it, this one included.
    pub attempts: u64,
    /// Number of refusals in a row.
    pub refusals: u64,
    /// Bytes, decompressed; known when it was read to the end before.
    pub total_bytes: Option<u64>,
    /// Lines, blank ones included; known when it was read to the end before.
    pub total_lines: Option<u64>,
}

impl TryFrom<objects::Model> for LeasedObject {
    type Error = Error;

    fn try_from(row: objects::Model) -> Result<Self, Error> {
        let corrupt = || Error::Corrupt("an object number is beyond 31 bits".to_owned());
        Ok(Self {
            id: ObjectId::new(row.id).ok_or_else(corrupt)?,
            version: ObjectVersion {
                root: row.root,
                key: row.key,
                etag: row.etag,
                size: row.size.cast_unsigned(),
                last_modified: row.last_modified,
            },
            incarnation: row.incarnation,
            dataset: row.dataset,
            declaration: row.declaration,
            is_posted: row.is_posted,
            chunk_bytes: row.chunk_bytes.cast_unsigned(),
            chunk_lines: row.chunk_lines.map(i64::cast_unsigned),
            max_line_bytes: row.max_line_bytes.cast_unsigned(),
            owner: row.lease_owner.unwrap_or_default(),
            attempts: row.readings.cast_unsigned(),
            refusals: row.refusals.cast_unsigned(),
            total_bytes: row.total_bytes.map(i64::cast_unsigned),
            total_lines: row.total_lines.map(i64::cast_unsigned),
        })
    }
}

/// The outcome of an attempt to read an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Everything up to `bytes` was published: up to the end, or up to where the object is damaged.
    EndReached {
        /// Bytes read, decompressed.
        bytes: u64,
        /// Lines in them, blank ones included.
        lines: u64,
        /// The error after them, if the object is damaged.
        error: Option<String>,
    },
    /// The missing chunks cannot be read any more; the object will fail.
    Unreadable {
        /// Why.
        error: String,
    },
}

/// Limits of what is leased in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseLimits {
    /// Maximum number of objects.
    pub objects: usize,
    /// Maximum of their total size in bytes, as stored; a single object may be larger.
    pub bytes: u64,
}

impl ReadOutcome {
    /// Bytes, lines, error, and whether what is missing is unreadable.
    fn values(&self) -> [Value; 4] {
        match self {
            Self::EndReached { bytes, lines, error } => [
                bytes.cast_signed().into(),
                lines.cast_signed().into(),
                error.clone().into(),
                false.into(),
            ],
            Self::Unreadable { error } => {
                [None::<i64>.into(), None::<i64>.into(), Some(error.clone()).into(), true.into()]
            }
        }
    }
}

impl ObjectLedger {
    /// Leases the oldest objects of these roots that no other owner reads and whose `retry_at` has passed, for `term`;
    /// returns them in order.
    ///
    /// Objects that `owner` has leased already are leased again: reading them was interrupted, or the response was
    /// lost.
    pub async fn lease(
        &self,
        owner: &str,
        roots: &[String],
        term: Duration,
        limits: LeaseLimits,
    ) -> Result<Vec<LeasedObject>, Error> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let now = dialect::of(&self.db).milliseconds();
        let roots_list = placeholders(5, roots.len());
        let skip = dialect::of(&self.db).skip_locked();
        // Materialized, so that no plan evaluates it twice and locks more rows than are leased.
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
        let most = i64::try_from(limits.objects).unwrap_or(i64::MAX);
        let bytes = i64::try_from(limits.bytes).unwrap_or(i64::MAX);
        let mut values = vec![owner.into(), term_ms(term).into(), most.into(), bytes.into()];
        values.extend(roots.iter().map(Into::into));
        let rows: Vec<Leased> = query(&self.db, "lease objects", &sql, values).await?;
        let leased = rows.into_iter().map(|row| row.0.try_into());
        let mut leased = leased.collect::<Result<Vec<LeasedObject>, Error>>()?;
        leased.sort_unstable_by_key(|object| object.id);
        Ok(leased)
    }

    /// Renews leases for another `term`; returns those that `owner` still has.
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
            dialect::of(&self.db).milliseconds(),
            placeholders(3, objects.len())
        );
        let mut values = vec![term_ms(term).into(), owner.into()];
        values.extend(objects.iter().map(|object| Value::from(object.get())));
        let kept: Vec<Id> = query(&self.db, "renew leases", &sql, values).await?;
        Ok(ids(kept))
    }

    /// Records how far an object is read, for those who watch: bytes, decompressed and as stored.
    pub async fn record_read(
        &self,
        object: ObjectId,
        owner: &str,
        bytes: u64,
        stored_bytes: u64,
    ) -> Result<(), Error> {
        let sql = "UPDATE objects SET read_bytes = $1, read_stored_bytes = $2
             WHERE id = $3 AND lease_owner = $4 AND state = 'reading'";
        let values = [
            bytes.cast_signed().into(),
            stored_bytes.cast_signed().into(),
            object.get().into(),
            owner.into(),
        ];
        execute(&self.db, "record the read position", sql, values).await.map(drop)
    }

    /// Releases the leases of objects that were not read to the end: they may be leased at once. Finished ones are not
    /// changed.
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
        execute(&self.db, "release leases", &sql, values).await.map(drop)
    }

    /// Records the outcomes of read attempts and ends their leases; returns the number of those that `owner` still had.
    pub async fn record_outcomes(
        &self,
        outcomes: &[(ObjectId, ReadOutcome)],
        owner: &str,
    ) -> Result<u64, Error> {
        if outcomes.is_empty() {
            return Ok(0);
        }
        let rows: Vec<String> =
            (0..outcomes.len()).map(|row| format!("({})", placeholders(2 + row * 5, 5))).collect();
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
        for (object, outcome) in outcomes {
            values.push(object.get().into());
            values.extend(outcome.values());
        }
        execute(&self.db, "finish objects", &sql, values).await
    }

    /// Has the missing chunks of loading objects read again; returns the objects that were loading.
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
