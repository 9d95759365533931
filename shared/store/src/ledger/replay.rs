//! Has objects read again from one of them on, as if nothing of them had ever been committed.
//!
//! One object alone cannot be: a row may stand at an older position than the last line that said the same, as lines
//! that change nothing need not touch it. A line that is committed late, below such a line, would win over it. So
//! everything behind the object is read again too, in a new epoch.

use std::{collections::HashSet, num::NonZeroU32};

use jetline_records::{ObjectId, Reason};
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::{Ledger, commit, epoch};
use crate::{
    Error,
    backend::{execute, placeholders, query},
};

/// How many objects one statement opens again.
const BATCH: usize = 500;

/// What a source holds: content that is the same as long as the `ETag` is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    /// The source's root.
    pub root: String,
    /// The path below the root.
    pub key: String,
    /// What changes with the content.
    pub etag: String,
}

/// What to read again.
#[derive(Clone, Copy, Debug)]
pub struct Replay<'a> {
    /// The first object.
    pub from: ObjectId,
    /// Everything that can be read now.
    pub stored: &'a HashSet<Stored>,
    /// Random: what was published before the replay is not of these registrations and is let go.
    pub registration: &'a str,
    /// About how many bytes a chunk has from now on.
    pub chunk_bytes: u64,
    /// How many lines a chunk has at most from now on.
    pub chunk_lines: NonZeroU32,
    /// How many bytes a line may have from now on.
    pub max_line_bytes: u64,
    /// Write every row, also where the stored fingerprint says that it is the same: somebody else may have changed it.
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

/// What became of a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// These are read again.
    Opened(Vec<Replayed>),
    /// Nothing is changed: these would have to be read again and are not there any more as they were.
    Missing(Vec<Replayed>),
    /// Nothing is changed: no object has this number.
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

impl Ledger {
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

    /// Opens an object and everything registered after it, of all datasets, to be read again from their beginnings, and
    /// ends the epoch. It is one transaction beside which nobody commits.
    ///
    /// Where one of them cannot be read as it was, nothing happens. One of which nothing was ever committed stays as it
    /// is: it has no line that could be outdone.
    pub async fn replay(&self, replay: &Replay<'_>) -> Result<ReplayOutcome, Error> {
        let tx = self.alone().await?;
        let rows = rows(&tx, replay.from).await?;
        let outcome = judge(&rows, replay);
        if let ReplayOutcome::Opened(objects) = &outcome {
            for batch in objects.chunks(BATCH) {
                open(&tx, batch, replay).await?;
            }
            epoch::outdate(&tx).await?;
            commit(tx, "have objects read again").await?;
        }
        Ok(outcome)
    }

    /// What [`Ledger::replay`] would do now; changes nothing.
    pub async fn replay_plan(&self, replay: &Replay<'_>) -> Result<ReplayOutcome, Error> {
        Ok(judge(&rows(&self.db, replay.from).await?, replay))
    }
}

async fn rows(db: &impl ConnectionTrait, from: ObjectId) -> Result<Vec<Row>, Error> {
    let sql = "SELECT o.id, o.root, o.key, o.etag, o.size, o.folded_bytes > 0 OR EXISTS (
             SELECT 1 FROM chunks c WHERE c.object_id = o.id AND c.state IN ('committed', 'forgotten'))
             AS has_content
         FROM objects o WHERE o.id >= $1 ORDER BY o.id";
    query(db, "read the objects", sql, [from.get().into()]).await
}

fn judge(rows: &[Row], replay: &Replay<'_>) -> ReplayOutcome {
    let from = replay.from.get();
    if rows.first().is_none_or(|row| row.id != from) {
        return ReplayOutcome::Unknown;
    }
    let (there, gone): (Vec<&Row>, Vec<&Row>) = rows
        .iter()
        .partition(|row| replay.stored.contains(&row.stored()));
    let missing: Vec<Replayed> = gone
        .into_iter()
        .filter(|row| row.has_content || row.id == from)
        .map(Row::replayed)
        .collect();
    if missing.is_empty() {
        ReplayOutcome::Opened(there.into_iter().map(Row::replayed).collect())
    } else {
        ReplayOutcome::Missing(missing)
    }
}

impl Row {
    fn stored(&self) -> Stored {
        Stored {
            root: self.root.clone(),
            key: self.key.clone(),
            etag: self.etag.clone(),
        }
    }

    fn replayed(&self) -> Replayed {
        Replayed {
            object: self.id,
            uri: format!("{}/{}", self.root, self.key),
            bytes: self.size,
        }
    }
}

/// Leaves of objects what was known when they were registered. `readings` goes on: the queue may remember the names that
/// were given to the chunks of earlier ones.
async fn open(
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
             max_line_bytes = $4, rewrite = $5, error = NULL, unreadable = FALSE, dismissed = FALSE,
             total_bytes = NULL, total_lines = NULL, lease_owner = NULL, lease_until = NULL,
             folded_bytes = 0, inserted = 0, updated = 0, unchanged = 0, superseded = 0, rejected = 0,
             done_at = NULL, refusal = NULL, refusals = 0, retry_at = NULL
         WHERE id IN ({})",
        placeholders(6, ids.len())
    );
    let mut values: Vec<Value> = vec![
        replay.registration.into(),
        replay.chunk_bytes.cast_signed().into(),
        i64::from(replay.chunk_lines.get()).into(),
        replay.max_line_bytes.cast_signed().into(),
        replay.rewrite.into(),
    ];
    values.extend(ids);
    execute(tx, "open objects again", &sql, values)
        .await
        .map(drop)
}
