//! Replay: an object and all that were registered after it are read again, as if nothing of them had been committed.
//!
//! A single object cannot be replayed alone: a row may have the position of an earlier line than the last one with the
//! same content, as unchanged lines need not write it. A replayed line between the two would win over the later one.
//! Therefore all objects after it are read again too, in a new epoch.

use std::{collections::HashSet, num::NonZeroU32};

use jetline_core::{ObjectId, ObjectVersion};
use jetline_datasets::Reason;
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::ObjectLedger;
use crate::{
    Error,
    database::begin_exclusive,
    epochs::epoch,
    statement::{execute, placeholders, query},
    watermark::Number,
};

/// Maximum number of objects in one statement.
const BATCH: usize = 500;

/// A version of an object in a source, identified by its `ETag`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExistingVersion {
    /// The source's root.
    pub root: String,
    /// The path below the root.
    pub key: String,
    /// The `ETag`.
    pub etag: String,
}

impl From<ObjectVersion> for ExistingVersion {
    fn from(ObjectVersion { root, key, etag, .. }: ObjectVersion) -> Self {
        Self { root, key, etag }
    }
}

/// The parameters of a replay.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// The first object.
    pub from: ObjectId,
    /// The objects that are in the sources now.
    pub stored: &'a HashSet<ExistingVersion>,
    /// Random: the new incarnation of the objects. Chunks that were published before the replay are discarded.
    pub incarnation: &'a str,
    /// The new target size of chunks, in bytes.
    pub chunk_bytes: u64,
    /// The new maximum number of lines of a chunk.
    pub chunk_lines: NonZeroU32,
    /// The new maximum number of bytes of a line.
    pub max_line_bytes: u64,
    /// Write every row, even where the stored fingerprint is the same: another program may have changed it.
    pub rewrite: bool,
}

/// An object of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Its number.
    pub object: i64,
    /// Its address.
    pub uri: String,
    /// Bytes, as stored.
    pub bytes: i64,
}

/// The outcome of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// These objects are read again.
    Opened(Vec<Replayed>),
    /// Nothing was changed: these would have to be read again and are not in the sources any more with the same `ETag`.
    Missing(Vec<Replayed>),
    /// Nothing was changed: the entries of objects up to this number were removed (`KEEP_OBJECTS`), so that it is not known what a
    /// replay from there on would have to read.
    Removed(ObjectId),
    /// Nothing was changed: no object has this number.
    Unknown,
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    root: String,
    key: String,
    etag: String,
    size: i64,
    has_content: bool,
}

#[derive(FromQueryResult)]
struct Oldest {
    object_id: i64,
}

impl ObjectLedger {
    /// The oldest object that has rejected lines, of any reason or of one.
    pub async fn oldest_rejected(&self, reason: Option<Reason>) -> Result<Option<ObjectId>, Error> {
        let condition = reason.map_or("", |_| "WHERE reason = $1");
        let sql = format!(
            "SELECT object_id FROM rejected_lines {condition} ORDER BY object_id, line LIMIT 1"
        );
        let values = reason.map(|reason| Value::from(reason.code()));
        let found: Vec<Oldest> = query(&self.db, "look for rejected lines", &sql, values).await?;
        Ok(found.first().and_then(|row| ObjectId::new(row.object_id)))
    }

    /// Reopens an object and all that were registered after it, of all datasets, to be read again from their
    /// beginnings, and ends the epoch, in one transaction that excludes commits.
    ///
    /// Where one of them is not in the sources any more with the same `ETag`, nothing is changed; an object without any
    /// commit is left as it is then: it has no line that could be superseded.
    pub async fn replay(&self, replay: &Replay<'_>) -> Result<ReplayOutcome, Error> {
        let tx = begin_exclusive(&self.db).await?;
        let rows = rows(&tx, replay.from).await?;
        let outcome = plan(&rows, replay, removed(&tx).await?);
        if let ReplayOutcome::Opened(objects) = &outcome {
            for batch in objects.chunks(BATCH) {
                reopen(&tx, batch, replay).await?;
            }
            epoch::outdate(&tx).await?;
            tx.commit("replay objects").await?;
        }
        Ok(outcome)
    }

    /// What [`Ledger::replay`] would do now; changes nothing.
    pub async fn replay_plan(&self, replay: &Replay<'_>) -> Result<ReplayOutcome, Error> {
        Ok(plan(&rows(&self.db, replay.from).await?, replay, removed(&self.db).await?))
    }
}

async fn rows(db: &impl ConnectionTrait, from: ObjectId) -> Result<Vec<Row>, Error> {
    // A dead chunk that was committed before has counts.
    let sql = "SELECT o.id, o.root, o.key, o.etag, o.size, o.folded_bytes > 0
             OR o.inserted + o.updated + o.deleted + o.unchanged + o.superseded + o.rejected > 0 OR EXISTS (
             SELECT 1 FROM chunks c WHERE c.object_id = o.id AND (c.state IN ('committed', 'forgotten')
                 OR c.inserted + c.updated + c.deleted + c.unchanged + c.superseded + c.rejected > 0))
             AS has_content
         FROM objects o WHERE o.id >= $1 ORDER BY o.id";
    query(db, "read the objects", sql, [from.get().into()]).await
}

/// The highest number of an object whose entry was removed.
async fn removed(db: &impl ConnectionTrait) -> Result<Option<ObjectId>, Error> {
    let sql = "SELECT removed_object AS number FROM ledger";
    let found: Vec<Number> = query(db, "read the removed objects", sql, []).await?;
    Ok(found.first().filter(|row| row.number > 0).and_then(|row| ObjectId::new(row.number)))
}

fn plan(rows: &[Row], replay: &Replay<'_>, removed: Option<ObjectId>) -> ReplayOutcome {
    let from = replay.from.get();
    if let Some(removed) = removed.filter(|removed| removed.get() >= from) {
        return ReplayOutcome::Removed(removed);
    }
    if rows.first().is_none_or(|row| row.id != from) {
        return ReplayOutcome::Unknown;
    }
    let (stored, missing): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| replay.stored.contains(&row.stored()));
    let missing: Vec<Replayed> = missing
        .into_iter()
        .filter(|row| row.has_content || row.id == from)
        .map(Row::replayed)
        .collect();
    if missing.is_empty() {
        ReplayOutcome::Opened(stored.into_iter().map(Row::replayed).collect())
    } else {
        ReplayOutcome::Missing(missing)
    }
}

impl Row {
    fn stored(&self) -> ExistingVersion {
        ExistingVersion { root: self.root.clone(), key: self.key.clone(), etag: self.etag.clone() }
    }

    fn replayed(&self) -> Replayed {
        Replayed { object: self.id, uri: format!("{}/{}", self.root, self.key), bytes: self.size }
    }
}

/// Resets objects to their state at registration, except for `readings`: the queue may still deduplicate by the message
/// ids of earlier read attempts.
async fn reopen(
    tx: &impl ConnectionTrait,
    objects: &[Replayed],
    replay: &Replay<'_>,
) -> Result<(), Error> {
    let ids: Vec<Value> = objects.iter().map(|one| one.object.into()).collect();
    for table in ["chunks", "rejected_lines"] {
        let of = placeholders(1, ids.len());
        let sql = format!("DELETE FROM {table} WHERE object_id IN ({of})");
        execute(tx, "forget what was committed", &sql, ids.clone()).await?;
    }
    let sql = format!(
        "UPDATE objects SET state = 'registered', registration = $1, chunk_bytes = $2, chunk_lines = $3,
             max_line_bytes = $4, rewrite = $5, declaration = COALESCE(
                 (SELECT MAX(number) FROM declarations d WHERE d.dataset = objects.dataset), 0), error = NULL, unreadable = FALSE, dismissed = FALSE,
             read_bytes = 0, read_stored_bytes = 0, total_bytes = NULL, total_lines = NULL, lease_owner = NULL, lease_until = NULL,
             folded_bytes = 0, inserted = 0, updated = 0, deleted = 0, unchanged = 0, superseded = 0, rejected = 0,
             done_at = NULL, refusal = NULL, refusals = 0, retry_at = NULL
         WHERE id IN ({})",
        placeholders(6, ids.len())
    );
    let mut values: Vec<Value> = vec![
        replay.incarnation.into(),
        replay.chunk_bytes.cast_signed().into(),
        i64::from(replay.chunk_lines.get()).into(),
        replay.max_line_bytes.cast_signed().into(),
        replay.rewrite.into(),
    ];
    values.extend(ids);
    execute(tx, "reopen replayed objects", &sql, values).await.map(drop)
}
