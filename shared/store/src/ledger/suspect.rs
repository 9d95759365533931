//! Chunks that are delivered suspiciously often: they may be what crashes their writers.

use sea_orm::FromQueryResult;

use super::Ledger;
use crate::{ChunkEntry, Error, backend::query, entities::chunks};

/// What to do with a suspicious chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// Try it, alone.
    Try,
    /// It is given up.
    Dead,
}

#[derive(FromQueryResult)]
struct Noted {
    state: chunks::State,
}

impl Ledger {
    /// Notes, before it is tried alone, that a chunk was delivered suspiciously often. After `limit` such attempts that
    /// came to no end it is dead.
    pub async fn suspect(&self, chunk: &ChunkEntry, limit: u32) -> Result<Suspicion, Error> {
        let sql = "INSERT INTO chunks (object_id, start_offset, end_offset, first_line, line_count,
                 state, attempts, committed_at)
             SELECT $1, $2, $3, $4, $5, 'suspect', 1, $6 FROM objects
             WHERE id = $1 AND registration = $8 AND state NOT IN ('done', 'failed')
             ON CONFLICT (object_id, start_offset) DO UPDATE SET
                 attempts = chunks.attempts + 1,
                 state = CASE WHEN chunks.state = 'committed' THEN 'committed'
                     WHEN chunks.attempts >= $7 THEN 'dead' ELSE 'suspect' END
             RETURNING state";
        let values = [
            chunk.object.get().into(),
            chunk.start.cast_signed().into(),
            chunk.end.cast_signed().into(),
            i64::from(chunk.first_line).into(),
            i64::from(chunk.lines).into(),
            (self.now)().into(),
            i64::from(limit).into(),
            chunk.registration.as_str().into(),
        ];
        let noted: Vec<Noted> = query(&self.db, "note a suspicious chunk", sql, values).await?;
        let dead = noted.iter().any(|row| row.state == chunks::State::Dead);
        Ok(if dead {
            Suspicion::Dead
        } else {
            Suspicion::Try
        })
    }
}
