//! Chunks that are delivered too often: they are suspected of crashing their writers.

use jetline_core::ChunkRange;
use sea_orm::FromQueryResult;

use super::ChunkLedger;
use crate::{Error, entities::chunks, statement::query};

/// What to do with a suspected chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspectAction {
    /// Retry it, alone.
    Retry,
    /// Do not retry it: it is dead.
    DeadLetter,
}

#[derive(FromQueryResult)]
struct Recorded {
    state: chunks::State,
}

impl ChunkLedger {
    /// Records an attempt to commit a suspected chunk alone, before it is made. After `limit` attempts without a commit
    /// the chunk is dead.
    ///
    /// A forgotten chunk stays one: that it is to be committed again matters more. A dead one stays dead, also for a
    /// writer with a higher limit: this epoch may count on it that it is not claimed.
    pub async fn suspect(&self, chunk: &ChunkRange, limit: u32) -> Result<SuspectAction, Error> {
        let sql = "INSERT INTO chunks (object_id, start_offset, end_offset, first_line, line_count,
                 state, attempts, committed_at)
             SELECT $1, $2, $3, $4, $5, 'suspect', 1, $6 FROM objects
             WHERE id = $1 AND registration = $8 AND state NOT IN ('done', 'failed')
             ON CONFLICT (object_id, start_offset) DO UPDATE SET
                 attempts = chunks.attempts + 1,
                 unclaimed = chunks.unclaimed AND chunks.state = 'dead',
                 state = CASE WHEN chunks.state IN ('committed', 'dead') THEN chunks.state
                     WHEN chunks.attempts >= $7 THEN 'dead'
                     WHEN chunks.state = 'forgotten' THEN 'forgotten' ELSE 'suspect' END
             RETURNING state";
        let values = [
            chunk.object.get().into(),
            chunk.start.cast_signed().into(),
            chunk.end.cast_signed().into(),
            i64::from(chunk.first_line).into(),
            i64::from(chunk.lines).into(),
            (self.now)().into(),
            i64::from(limit).into(),
            chunk.incarnation.as_str().into(),
        ];
        let recorded: Vec<Recorded> =
            query(&self.db, "record a suspected chunk", sql, values).await?;
        let dead = recorded.iter().any(|row| row.state == chunks::State::Dead);
        Ok(if dead { SuspectAction::DeadLetter } else { SuspectAction::Retry })
    }
}
