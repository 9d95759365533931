//! The ledger entries of chunks: checked before the rows are written, and written with them.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use jetline_core::{ChunkRange, Counts, EpochId, Mode};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait,
    Set, Value,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use super::ChunkRows;
use crate::{
    Error,
    chunks::SupersededBy,
    dialect::in_force,
    entities::{chunks, objects},
    statement::{execute_built, placeholders, query, query_built},
    unknown_fields,
};

/// Whether chunks may be committed.
pub(super) enum Check {
    /// No: another epoch is in force.
    EpochEnded,
    /// These not: their object failed without them, or is another incarnation.
    Stale(Vec<ChunkRange>),
    /// Yes; with their state in the ledger.
    Known(Known),
}

/// The existing entries of chunks, and the objects of which every chunk is committed.
pub(super) struct Known {
    entries: HashMap<(i64, i64), chunks::Model>,
    complete: HashSet<i64>,
    unread: Option<i64>,
    rewrites: bool,
    is_shared: bool,
}

impl Known {
    /// Whether the epoch is of the shared mode.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether one of the objects is replayed with `rewrite`; then all rows of the commit are written.
    pub(super) fn rewrites(&self) -> bool {
        self.rewrites
    }

    /// Whether lines of earlier objects may still be committed although the epoch is in order: a row with the same
    /// content must then take the new rank, as they would otherwise supersede it.
    pub(super) fn is_out_of_order(&self, range: &ChunkRange) -> bool {
        self.unread.is_some_and(|unread| unread < range.object.get())
    }

    pub(super) fn is_any_out_of_order(&self, chunks: &[ChunkRows]) -> bool {
        chunks.iter().any(|chunk| self.is_out_of_order(&chunk.range))
    }

    pub(super) fn is_committed(&self, range: &ChunkRange) -> bool {
        self.complete.contains(&range.object.get())
            || self.get(range).is_some_and(|known| known.state == chunks::State::Committed)
    }

    /// The counts of the earlier commits of a chunk, where it is committed again because a new epoch began.
    pub(super) fn first_counts(&self, range: &ChunkRange) -> Option<Counts> {
        let first = self.get(range)?;
        let counts = Counts {
            inserted: first.inserted.cast_unsigned(),
            updated: first.updated.cast_unsigned(),
            deleted: first.deleted.cast_unsigned(),
            unchanged: first.unchanged.cast_unsigned(),
            superseded: first.superseded.cast_unsigned(),
            rejected: first.rejected.cast_unsigned(),
            blank: first.blank.cast_unsigned(),
        };
        (counts.lines() > 0).then_some(counts)
    }

    fn get(&self, range: &ChunkRange) -> Option<&chunks::Model> {
        self.entries.get(&key(range))
    }
}

fn key(range: &ChunkRange) -> (i64, i64) {
    (range.object.get(), range.start.cast_signed())
}

#[derive(FromQueryResult)]
struct ObjectRow {
    epoch: String,
    mode: String,
    in_force: bool,
    id: Option<i64>,
    incarnation: Option<String>,
    state: Option<objects::State>,
    complete: Option<bool>,
    rewrite: Option<bool>,
    unread: Option<i64>,
}

/// The first object of which chunks may still be committed. One that another process read to its end may have lost
/// chunks with it, if that was about to find that this one took over. The first condition is that of the index `objects_open`.
const FIRST_OPEN: &str = "SELECT MIN(id) FROM objects WHERE state NOT IN ('done', 'failed')
     AND (state <> 'loading' OR total_bytes > (
         SELECT COALESCE(SUM(c.end_offset - c.start_offset), 0) FROM chunks c
         WHERE c.object_id = objects.id AND c.state IN ('committed', 'dead')))";

pub(super) async fn check(
    tx: &impl ConnectionTrait,
    epoch: EpochId,
    chunks: &[ChunkRows],
) -> Result<Check, Error> {
    let mut ids: Vec<i64> = chunks.iter().map(|chunk| chunk.range.object.get()).collect();
    ids.sort_unstable();
    ids.dedup();
    let sql = format!(
        "SELECT e.id AS epoch, e.mode AS mode, {} AS in_force, o.id AS id,
             o.registration AS incarnation, o.state AS state, o.rewrite AS rewrite,
             o.state = 'done' OR (o.state = 'failed' AND o.folded_bytes = o.total_bytes) AS complete,
             CASE WHEN e.mode = 'in_order' THEN ({FIRST_OPEN}) END AS unread
         FROM epoch e LEFT JOIN objects o ON o.id IN ({})",
        in_force(tx, "e"),
        placeholders(1, ids.len())
    );
    let rows: Vec<ObjectRow> =
        query(tx, "check the epoch", &sql, ids.into_iter().map(Value::from)).await?;
    let is_in_force = |row: &&ObjectRow| row.in_force && row.epoch == epoch.to_string();
    let Some(first) = rows.first().filter(is_in_force) else {
        return Ok(Check::EpochEnded);
    };
    let objects: HashMap<i64, &ObjectRow> =
        rows.iter().filter_map(|row| Some((row.id?, row))).collect();
    let complete =
        objects.values().filter(|row| row.complete == Some(true)).filter_map(|row| row.id);
    let known = Known {
        entries: entries(tx, chunks).await?,
        complete: complete.collect(),
        unread: first.unread,
        rewrites: rows.iter().any(|row| row.rewrite == Some(true)),
        is_shared: first.mode == Mode::Shared.as_str(),
    };
    let stale: Vec<ChunkRange> = chunks
        .iter()
        .map(|chunk| &chunk.range)
        .filter(|range| {
            let object = objects.get(&range.object.get());
            let same = object.filter(|row| row.incarnation.as_deref() == Some(&range.incarnation));
            same.is_none_or(|row| {
                row.state == Some(objects::State::Failed) && !known.is_committed(range)
            })
        })
        .cloned()
        .collect();
    if stale.is_empty() { Ok(Check::Known(known)) } else { Ok(Check::Stale(stale)) }
}

async fn entries(
    tx: &impl ConnectionTrait,
    chunks: &[ChunkRows],
) -> Result<HashMap<(i64, i64), chunks::Model>, Error> {
    let any = chunks.iter().fold(Condition::any(), |any, chunk| {
        let (object, start) = key(&chunk.range);
        any.add(chunks::Column::ObjectId.eq(object).and(chunks::Column::StartOffset.eq(start)))
    });
    let find = chunks::Entity::find().filter(any).build(tx.get_database_backend());
    let entries: Vec<chunks::Model> = query_built(tx, "read ledger entries", find).await?;
    let by_key = entries.into_iter().map(|entry| ((entry.object_id, entry.start_offset), entry));
    Ok(by_key.collect())
}

/// Writes the entries; `false` where a concurrent transaction committed one of them.
pub(super) async fn insert(
    tx: &impl ConnectionTrait,
    chunks: &[ChunkRows],
    counts: &[Counts],
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    if chunks.is_empty() {
        return Ok(true);
    }
    let mut chunks: Vec<_> = chunks.iter().zip(counts).collect();
    // All writers lock entries in the same order, as they do for rows, so that they cannot deadlock.
    chunks.sort_unstable_by_key(|(chunk, _)| key(&chunk.range));
    let rows = chunks.iter().map(|(chunk, counts)| row(chunk, counts, now));
    let replace = OnConflict::columns([chunks::Column::ObjectId, chunks::Column::StartOffset])
        .update_columns([
            chunks::Column::State,
            chunks::Column::Inserted,
            chunks::Column::Updated,
            chunks::Column::Deleted,
            chunks::Column::Unchanged,
            chunks::Column::Superseded,
            chunks::Column::Rejected,
            chunks::Column::Blank,
            chunks::Column::OutdoneBy,
            chunks::Column::UnknownFields,
            chunks::Column::CommittedAt,
        ])
        .action_and_where(Expr::col((chunks::Entity, chunks::Column::State)).ne("committed"))
        .to_owned();
    let insert =
        chunks::Entity::insert_many(rows.collect::<Result<Vec<_>, Error>>()?).on_conflict(replace);
    let insert = insert.build(tx.get_database_backend());
    let written = execute_built(tx, "write ledger entries", insert).await?;
    Ok(written == chunks.len() as u64)
}

fn row(
    chunk: &ChunkRows,
    counts: &Counts,
    now: DateTime<Utc>,
) -> Result<chunks::ActiveModel, Error> {
    let range = &chunk.range;
    Ok(chunks::ActiveModel {
        object_id: Set(range.object.get()),
        start_offset: Set(range.start.cast_signed()),
        end_offset: Set(range.end.cast_signed()),
        first_line: Set(range.first_line.into()),
        line_count: Set(range.lines.into()),
        state: Set(chunks::State::Committed),
        attempts: Set(0),
        inserted: Set(counts.inserted.cast_signed()),
        updated: Set(counts.updated.cast_signed()),
        deleted: Set(counts.deleted.cast_signed()),
        unchanged: Set(counts.unchanged.cast_signed()),
        superseded: Set(counts.superseded.cast_signed()),
        rejected: Set(counts.rejected.cast_signed()),
        blank: Set(counts.blank.cast_signed()),
        outdone_by: Set(SupersededBy::to_json(&chunk.superseded_by)),
        unknown_fields: Set(unknown_fields::to_json(&chunk.unknown)?),
        unclaimed: Set(false),
        committed_at: Set(now),
    })
}
