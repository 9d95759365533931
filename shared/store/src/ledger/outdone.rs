//! Objects that may not end yet: a line of theirs was outdone by a line that is not committed.
//!
//! A line that was outdone is not written. Should the line that outdid it never be committed, because the database refuses
//! it or because its chunk is lost for good, a new epoch has the outdone line claimed again, if its object is not below
//! the epoch's base. So no object ends, and the watermark does not pass it, before the lines are committed that outdid
//! lines of its chunks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jetline_records::ObjectId;
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::{Ledger, settled};
use crate::{
    Error,
    backend::{nobody_reads, placeholders, query},
    commit::OutdoneBy,
    entities::objects,
};

/// How many objects one statement asks for.
const BATCH: usize = 500;

/// The form in the ledger: `[[object, first line, last line], …]`.
pub(crate) fn text(outdone_by: &[OutdoneBy]) -> Option<String> {
    if outdone_by.is_empty() {
        return None;
    }
    let each = outdone_by.iter().map(|by| {
        let OutdoneBy {
            object,
            first_line,
            last_line,
        } = by;
        format!("[{object},{first_line},{last_line}]")
    });
    Some(format!("[{}]", each.collect::<Vec<_>>().join(",")))
}

fn read(text: &str) -> Result<Vec<OutdoneBy>, Error> {
    let damaged = || Error::Damaged(format!("lines that outdid others: {text:?}"));
    let read: Vec<(i64, u32, u32)> = serde_json::from_str(text).map_err(|_| damaged())?;
    let each = read.into_iter().map(|(object, first_line, last_line)| {
        Some(OutdoneBy {
            object: ObjectId::new(object)?,
            first_line,
            last_line,
        })
    });
    each.collect::<Option<Vec<_>>>().ok_or_else(damaged)
}

/// Which of some objects may not end.
#[derive(Debug, Default)]
pub(super) struct Outdone {
    /// These wait for lines of others.
    for_others: HashSet<i64>,
    /// These wait for lines of their own.
    for_own: HashSet<i64>,
    /// The objects whose lines are waited for.
    open: BTreeSet<i64>,
    /// Whether one of them waits for lines that may never be committed: only a new epoch helps.
    in_vain: bool,
}

impl Outdone {
    /// Whether an object may end.
    pub(super) fn may_end(&self, object: i64) -> bool {
        self.may_break_off(object) && !self.for_own.contains(&object)
    }

    /// Whether an object may end without chunks of its own.
    pub(super) fn may_break_off(&self, object: i64) -> bool {
        !self.for_others.contains(&object)
    }

    /// Whether a new epoch is needed.
    pub(super) fn needs_epoch(&self) -> bool {
        self.in_vain
    }
}

impl Ledger {
    /// The objects, not of these roots, for whose lines some objects wait, and which nobody reads.
    pub async fn unread_before(
        &self,
        objects: &[ObjectId],
        roots: &[String],
    ) -> Result<Vec<ObjectId>, Error> {
        let ids: Vec<i64> = objects.iter().map(|object| object.get()).collect();
        let others = outdone(&self.db, &ids).await?.open;
        let others: Vec<i64> = others.into_iter().collect();
        let mut unread = Vec::new();
        for batch in others.chunks(BATCH) {
            let sql = format!(
                "SELECT id FROM objects WHERE {} AND id IN ({}) AND root NOT IN ({})",
                nobody_reads(&self.db),
                placeholders(1, batch.len()),
                placeholders(1 + batch.len(), roots.len())
            );
            let values = batch.iter().map(|id| Value::from(*id));
            let values = values.chain(roots.iter().map(Value::from));
            let rows: Vec<Id> = query(&self.db, "read what objects wait for", &sql, values).await?;
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
struct OutdoneRow {
    object_id: i64,
    outdone_by: String,
}

/// Looks which of these objects wait.
pub(super) async fn outdone(db: &impl ConnectionTrait, objects: &[i64]) -> Result<Outdone, Error> {
    // What is below the watermark has ended, and what outdid it was committed before.
    let settled = settled(db).await?;
    let mut by_object: BTreeMap<i64, Vec<(i64, OutdoneBy)>> = BTreeMap::new();
    for batch in objects.chunks(BATCH) {
        let sql = format!(
            "SELECT object_id, outdone_by FROM chunks
             WHERE outdone_by IS NOT NULL AND state = 'committed' AND object_id IN ({})",
            placeholders(1, batch.len())
        );
        let ids = batch.iter().map(|id| Value::from(*id));
        let rows: Vec<OutdoneRow> = query(db, "read what outdid lines", &sql, ids).await?;
        for row in rows {
            for by in read(&row.outdone_by)? {
                if by.object >= settled {
                    let waiting = by_object.entry(by.object.get()).or_default();
                    waiting.push((row.object_id, by));
                }
            }
        }
    }
    let mut outdone = Outdone::default();
    let ids: Vec<i64> = by_object.keys().copied().collect();
    for batch in ids.chunks(BATCH) {
        let others = others(db, batch).await?;
        for id in batch {
            for (object, by) in &by_object[id] {
                let other = others.get(id);
                if object == id {
                    // All that is not dead of a complete object is committed, and what is missing of another one is not
                    // claimed again where it cannot be read any more.
                    if other.is_some_and(|own| !own.has_ended && own.is_dead(by)) {
                        outdone.for_own.insert(*object);
                        outdone.in_vain = true;
                    }
                    continue;
                }
                match other.map_or(State::Never, |other| other.state(by)) {
                    State::Committed => continue,
                    State::Open => drop(outdone.open.insert(*id)),
                    State::Never => outdone.in_vain = true,
                }
                outdone.for_others.insert(*object);
            }
        }
    }
    Ok(outdone)
}

/// What became of lines that outdid others.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Committed,
    Open,
    /// Not all of them are committed, and perhaps they never will be.
    Never,
}

/// An object with lines that outdid others.
#[derive(Default)]
struct Other {
    /// Nothing that is missing of it will be committed.
    has_ended: bool,
    /// Its chunks that are committed, or dead: first line, the line behind the last, whether dead chunks may have claims.
    chunks: Vec<(i64, i64, bool)>,
}

impl Other {
    /// Whether a dead chunk has some of these lines.
    fn is_dead(&self, by: &OutdoneBy) -> bool {
        let mut dead = self.chunks.iter().filter(|(.., is_dead)| *is_dead);
        dead.any(|chunk| shared_lines(chunk, by) > 0)
    }

    fn state(&self, by: &OutdoneBy) -> State {
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

fn shared_lines((from, to, _): &(i64, i64, bool), by: &OutdoneBy) -> i64 {
    let (first, behind) = (i64::from(by.first_line), i64::from(by.last_line) + 1);
    ((*to).min(behind) - (*from).max(first)).max(0)
}

#[derive(FromQueryResult)]
struct ObjectRow {
    id: i64,
    state: objects::State,
    /// Whether what is missing cannot be read any more, or could not be read the last time.
    unreadable: bool,
}

#[derive(FromQueryResult)]
struct ChunkRow {
    object_id: i64,
    first_line: i64,
    line_count: i64,
    dead: bool,
}

async fn others(db: &impl ConnectionTrait, ids: &[i64]) -> Result<HashMap<i64, Other>, Error> {
    let of = placeholders(1, ids.len());
    let values = || ids.iter().map(|id| Value::from(*id));
    let sql = format!(
        "SELECT id, state, unreadable OR (state = 'registered' AND refusal IS NOT NULL) AS unreadable
         FROM objects WHERE id IN ({of})"
    );
    let rows: Vec<ObjectRow> = query(db, "read objects", &sql, values()).await?;
    let mut others: HashMap<i64, Other> = rows
        .into_iter()
        .map(|row| {
            let has_ended = matches!(row.state, objects::State::Done | objects::State::Failed);
            let other = Other {
                has_ended: has_ended || row.unreadable,
                chunks: Vec::new(),
            };
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

    fn by(object: i64, first_line: u32, last_line: u32) -> OutdoneBy {
        OutdoneBy {
            object: ObjectId::new(object).unwrap(),
            first_line,
            last_line,
        }
    }

    #[test]
    fn text_in_the_ledger_is_read_as_it_was_written() {
        assert_eq!(text(&[]), None);
        let lines = [by(7, 1, 9), by(i64::from(i32::MAX), u32::MAX, u32::MAX)];
        assert_eq!(read(&text(&lines).unwrap()).unwrap(), lines);
        assert!(read("[[7,1]]").is_err());
        assert!(read("[[-1,1,1]]").is_err());
    }

    #[test]
    fn lines_are_committed_when_chunks_cover_all_of_them() {
        let mut other = Other {
            has_ended: false,
            chunks: vec![(1, 11, false), (21, 31, false)],
        };
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
        let other = Other {
            has_ended: false,
            chunks: vec![(1, 11, false), (11, 21, true)],
        };
        assert_eq!(other.state(&by(2, 1, 10)), State::Committed);
        assert_eq!(other.state(&by(2, 1, 11)), State::Never);
    }
}
