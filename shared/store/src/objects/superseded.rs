//! Objects that may not end yet, because a line of theirs was superseded by a line that is not committed.
//!
//! A superseded line is not written. If the superseding line is never committed, because the database refuses it or its
//! chunk is lost, the superseded line has to be claimed again in a new epoch, which happens only if its object is not
//! below the epoch's base. Therefore no object ends, and the watermark does not pass it, before all lines are committed
//! that superseded lines of its chunks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jetline_core::ObjectId;
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::ObjectLedger;
use crate::{
    Error,
    chunks::SupersededBy,
    dialect::is_unleased,
    entities::objects,
    statement::{placeholders, query},
    watermark::settled,
};

/// Maximum number of objects in one statement.
const BATCH: usize = 500;

/// The objects that may not end.
#[derive(Debug, Default)]
pub struct Blocked {
    /// Objects that wait for lines of others.
    by_others: HashSet<i64>,
    /// Objects that wait for lines of their own.
    by_own: HashSet<i64>,
    /// The objects whose lines they wait for.
    blockers: BTreeSet<i64>,
    /// Whether one of them waits for lines that may never be committed, so that a new epoch is needed.
    needs_epoch: bool,
}

impl Blocked {
    /// Adds that lines of a committed chunk of `object` were superseded by others. `blocker` is the object of those,
    /// which is not settled, if it is registered.
    pub fn add(&mut self, object: i64, by: &SupersededBy, blocker: Option<&Blocker>) {
        if object == by.object.get() {
            // Of a complete object, all chunks that are not dead are committed. Missing chunks of an unreadable object are
            // not claimed again.
            if blocker.is_some_and(|own| !own.has_ended && own.is_dead(by)) {
                self.by_own.insert(object);
                self.needs_epoch = true;
            }
            return;
        }
        match blocker.map_or(State::Never, |blocker| blocker.state(by)) {
            State::Committed => return,
            State::Open => drop(self.blockers.insert(by.object.get())),
            State::Never => self.needs_epoch = true,
        }
        self.by_others.insert(object);
    }

    /// Whether an object may end.
    #[must_use]
    pub fn may_end(&self, object: i64) -> bool {
        self.may_end_incomplete(object) && !self.by_own.contains(&object)
    }

    /// Whether an object may end while chunks of it are missing.
    #[must_use]
    pub fn may_end_incomplete(&self, object: i64) -> bool {
        !self.by_others.contains(&object)
    }

    /// Whether a new epoch is needed.
    #[must_use]
    pub fn needs_epoch(&self) -> bool {
        self.needs_epoch
    }
}

impl ObjectLedger {
    /// The objects of other roots for whose lines these objects wait, and that no fetcher reads.
    pub async fn unread_blockers(
        &self,
        objects: &[ObjectId],
        roots: &[String],
    ) -> Result<Vec<ObjectId>, Error> {
        let ids: Vec<i64> = objects.iter().map(|object| object.get()).collect();
        let blockers = blocked(&self.db, &ids).await?.blockers;
        let blockers: Vec<i64> = blockers.into_iter().collect();
        let mut unread = Vec::new();
        for batch in blockers.chunks(BATCH) {
            let sql = format!(
                "SELECT id FROM objects WHERE {} AND id IN ({}) AND root NOT IN ({})",
                is_unleased(&self.db),
                placeholders(1, batch.len()),
                placeholders(1 + batch.len(), roots.len())
            );
            let values = batch.iter().map(|id| Value::from(*id));
            let values = values.chain(roots.iter().map(Value::from));
            let rows: Vec<Id> = query(&self.db, "read unread blockers", &sql, values).await?;
            unread.extend(rows.iter().filter_map(|row| ObjectId::new(row.id)));
        }
        Ok(unread)
    }
}

#[derive(FromQueryResult)]
struct Id {
    id: i64,
}

#[derive(FromQueryResult)]
struct SupersededByRow {
    object_id: i64,
    outdone_by: String,
}

/// Finds out which of these objects may not end.
pub(super) async fn blocked(db: &impl ConnectionTrait, objects: &[i64]) -> Result<Blocked, Error> {
    // Objects below the watermark have ended, and lines that superseded theirs were committed before.
    let settled = settled(db).await?;
    let mut by_object: BTreeMap<i64, Vec<(i64, SupersededBy)>> = BTreeMap::new();
    for batch in objects.chunks(BATCH) {
        let sql = format!(
            "SELECT object_id, outdone_by FROM chunks
             WHERE outdone_by IS NOT NULL AND state = 'committed' AND object_id IN ({})",
            placeholders(1, batch.len())
        );
        let ids = batch.iter().map(|id| Value::from(*id));
        let rows: Vec<SupersededByRow> = query(db, "read superseding lines", &sql, ids).await?;
        for row in rows {
            for by in SupersededBy::from_json(&row.outdone_by)? {
                if by.object >= settled {
                    let waiting = by_object.entry(by.object.get()).or_default();
                    waiting.push((row.object_id, by));
                }
            }
        }
    }
    let mut blocked = Blocked::default();
    let ids: Vec<i64> = by_object.keys().copied().collect();
    for batch in ids.chunks(BATCH) {
        let blockers = load_blockers(db, batch).await?;
        for id in batch {
            for (object, by) in &by_object[id] {
                blocked.add(*object, by, blockers.get(id));
            }
        }
    }
    Ok(blocked)
}

/// The state of a range of superseding lines.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Committed,
    Open,
    /// Not all of them are committed, and the others may never be.
    Never,
}

/// An object with superseding lines.
#[derive(Clone, Debug, Default)]
pub struct Blocker {
    /// Its missing chunks will not be committed.
    pub has_ended: bool,
    /// Its committed and dead chunks: first line, the line after the last, whether it is dead and may have claims.
    pub chunks: Vec<(i64, i64, bool)>,
}

impl Blocker {
    /// Whether a dead chunk has some of these lines.
    fn is_dead(&self, by: &SupersededBy) -> bool {
        let mut dead = self.chunks.iter().filter(|(.., is_dead)| *is_dead);
        dead.any(|chunk| shared_lines(chunk, by) > 0)
    }

    fn state(&self, by: &SupersededBy) -> State {
        let lines = i64::from(by.last_line) + 1 - i64::from(by.first_line);
        let committed = self.chunks.iter().map(|chunk| shared_lines(chunk, by));
        if self.is_dead(by) {
            State::Never
        } else if committed.sum::<i64>() >= lines {
            State::Committed
        } else if self.has_ended {
            State::Never
        } else {
            State::Open
        }
    }
}

fn shared_lines((from, to, _): &(i64, i64, bool), by: &SupersededBy) -> i64 {
    let (first, behind) = (i64::from(by.first_line), i64::from(by.last_line) + 1);
    ((*to).min(behind) - (*from).max(first)).max(0)
}

#[derive(FromQueryResult)]
struct ObjectRow {
    id: i64,
    state: objects::State,
    /// Whether its missing chunks cannot be read any more, or the last attempt to read it was refused.
    unreadable: bool,
}

#[derive(FromQueryResult)]
struct ChunkRow {
    object_id: i64,
    first_line: i64,
    line_count: i64,
    dead: bool,
}

async fn load_blockers(
    db: &impl ConnectionTrait,
    ids: &[i64],
) -> Result<HashMap<i64, Blocker>, Error> {
    let of = placeholders(1, ids.len());
    let values = || ids.iter().map(|id| Value::from(*id));
    let sql = format!(
        "SELECT id, state, unreadable OR (state = 'registered' AND refusal IS NOT NULL) AS unreadable
         FROM objects WHERE id IN ({of})"
    );
    let rows: Vec<ObjectRow> = query(db, "read objects", &sql, values()).await?;
    let mut others: HashMap<i64, Blocker> = rows
        .into_iter()
        .map(|row| {
            let has_ended = matches!(row.state, objects::State::Done | objects::State::Failed);
            let other = Blocker { has_ended: has_ended || row.unreadable, chunks: Vec::new() };
            (row.id, other)
        })
        .collect();
    let sql = format!(
        "SELECT object_id, first_line, line_count, state = 'dead' AND NOT unclaimed AS dead FROM chunks
         WHERE object_id IN ({of}) AND state IN ('committed', 'dead')"
    );
    let rows: Vec<ChunkRow> = query(db, "read chunks", &sql, values()).await?;
    for row in rows {
        if let Some(other) = others.get_mut(&row.object_id) {
            let behind = row.first_line + row.line_count;
            other.chunks.push((row.first_line, behind, row.dead));
        }
    }
    Ok(others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(object: i64, first_line: u32, last_line: u32) -> SupersededBy {
        SupersededBy { object: ObjectId::new(object).unwrap(), first_line, last_line }
    }

    #[test]
    fn lines_are_committed_when_chunks_cover_all_of_them() {
        let mut other = Blocker { has_ended: false, chunks: vec![(1, 11, false), (21, 31, false)] };
        assert_eq!(other.state(&by(2, 1, 10)), State::Committed);
        assert_eq!(other.state(&by(2, 30, 30)), State::Committed);
        assert_eq!(other.state(&by(2, 10, 21)), State::Open);
        assert_eq!(other.state(&by(2, 31, 31)), State::Open);
        other.chunks.push((11, 21, false));
        assert_eq!(other.state(&by(2, 10, 21)), State::Committed);
        other.has_ended = true;
        assert_eq!(other.state(&by(2, 30, 31)), State::Never);
    }

    #[test]
    fn lines_of_a_dead_chunk_are_never_committed() {
        let other = Blocker { has_ended: false, chunks: vec![(1, 11, false), (11, 21, true)] };
        assert_eq!(other.state(&by(2, 1, 10)), State::Committed);
        assert_eq!(other.state(&by(2, 1, 11)), State::Never);
    }
}
