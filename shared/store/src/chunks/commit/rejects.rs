//! Rejected lines, written in the commit of their chunk.

use sea_orm::{ConnectionTrait, EntityTrait, QueryTrait, Set, sea_query::OnConflict};

use super::{ChunkRows, RejectedLine};
use crate::{
    Error,
    entities::rejected_lines,
    objects::STORED_REJECTS,
    statement::{execute, execute_built, query},
    watermark::Number,
};

/// Maximum number of rejected lines in one statement.
const BATCH: usize = 1000;

/// Removes the rejected lines of an earlier commit of chunks: the database may accept now what it refused then.
pub(super) async fn remove(
    tx: &impl ConnectionTrait,
    chunks: impl Iterator<Item = &ChunkRows>,
) -> Result<(), Error> {
    let chunks = chunks.map(|chunk| &chunk.range);
    let mut ranges: Vec<(i64, i64, i64)> = chunks
        .map(|range| (range.object.get(), range.first_line.into(), range.lines.into()))
        .collect();
    ranges.sort_unstable();
    let sql = "DELETE FROM rejected_lines WHERE object_id = $1 AND line >= $2 AND line < $3";
    for (object, first, lines) in ranges {
        let values = [object.into(), first.into(), (first + lines).into()];
        execute(tx, "remove rejected lines", sql, values).await?;
    }
    Ok(())
}

/// Writes the rejected lines of chunks, but no more than [`STORED_REJECTS`] of an object, unless the database refused them.
pub(super) async fn insert(tx: &impl ConnectionTrait, chunks: &[ChunkRows]) -> Result<(), Error> {
    let mut lines: Vec<(i64, &RejectedLine)> = Vec::new();
    for chunk in chunks {
        let object = chunk.range.object.get();
        let room = room(tx, chunk).await?;
        let stored = (0..)
            .zip(&chunk.rejected)
            .filter(|(number, line)| *number < room || line.rejection.reason.is_of_database());
        lines.extend(stored.map(|(_, line)| (object, line)));
    }
    // All writers lock lines in the same order, as they do for rows, so that they cannot deadlock.
    lines.sort_unstable_by_key(|(object, line)| (*object, line.line));
    // A concurrent transaction may commit the same chunk.
    let already =
        OnConflict::columns([rejected_lines::Column::ObjectId, rejected_lines::Column::Line])
            .do_nothing()
            .to_owned();
    // A row takes several times the memory of a short line: the rows of one statement at a time are built.
    for batch in lines.chunks(BATCH) {
        let rows = batch.iter().map(|(object, line)| row(*object, line));
        let insert = rejected_lines::Entity::insert_many(rows).on_conflict(already.clone());
        let insert = insert.build(tx.get_database_backend());
        execute_built(tx, "write rejected lines", insert).await?;
    }
    Ok(())
}

/// A chunk with fewer rejected lines is stored as it is.
const FEW: usize = 64;

/// How many chunks before one are looked at.
const CHUNKS_BEFORE: u64 = 4096;

/// How many rejected lines of a chunk are stored: of an object, about the first ones. Too many are stored at first where chunks are
/// committed together, or in another order than that of their lines, or have few rejected lines each.
async fn room(tx: &impl ConnectionTrait, chunk: &ChunkRows) -> Result<u64, Error> {
    let range = &chunk.range;
    let most = u64::from(range.first_line) - 1 + chunk.rejected.len() as u64;
    if chunk.rejected.len() < FEW || most <= STORED_REJECTS {
        return Ok(STORED_REJECTS);
    }
    let sql = format!(
        "SELECT CAST(COALESCE(SUM(rejected), 0) AS BIGINT) AS number FROM
         (SELECT rejected FROM chunks WHERE object_id = $1 AND start_offset < $2 ORDER BY start_offset LIMIT {CHUNKS_BEFORE}) AS first"
    );
    let values = [range.object.get().into(), range.start.cast_signed().into()];
    let before: Vec<Number> = query(tx, "count rejected lines", &sql, values).await?;
    let before = before.first().map_or(0, |row| row.number.cast_unsigned());
    Ok(STORED_REJECTS.saturating_sub(before))
}

fn row(object: i64, line: &RejectedLine) -> rejected_lines::ActiveModel {
    rejected_lines::ActiveModel {
        object_id: Set(object),
        line: Set(line.line.into()),
        byte_offset: Set(line.offset.cast_signed()),
        reason: Set(line.rejection.reason.code().to_owned()),
        // The message may quote the line, and no database text can hold U+0000.
        message: Set(line.rejection.message.replace('\0', "\u{fffd}")),
        raw: Set(line.raw.clone()),
    }
}
