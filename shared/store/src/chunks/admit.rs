//! Decides which chunks may be claimed.

use jetline_core::{ChunkRange, EpochId};
use sea_orm::{FromQueryResult, Value};

use super::ChunkLedger;
use crate::{
    Error,
    dialect::in_force,
    statement::{placeholders, query},
};

/// Whether chunks may be claimed under an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// All of them, as long as the epoch lasts.
    All,
    /// All of them now: an object has dead chunks, which may not.
    AllNow,
    /// All but these: their object is not registered, or is another incarnation, or they are dead.
    Except(Vec<ChunkRange>),
    /// None: another epoch is in force.
    EpochEnded,
}

#[derive(FromQueryResult)]
struct Registered {
    epoch: String,
    in_force: bool,
    id: Option<i64>,
    known_as: Option<String>,
    dead_start: Option<i64>,
}

impl ChunkLedger {
    /// Checks that chunks belong to the current incarnation of their object, while `epoch` is in force.
    ///
    /// A restored database assigns numbers again. Claims of a chunk from before the restore would supersede lines of
    /// the object that has the number now. A number is assigned again only in another epoch: an admitted chunk may be
    /// claimed as long as the epoch lasts.
    ///
    /// A dead chunk that a writer still has is not claimed either: an epoch has no claims of chunks that were dead before
    /// it began.
    pub async fn admit(&self, epoch: EpochId, chunks: &[&ChunkRange]) -> Result<Admission, Error> {
        let sql = format!(
            "SELECT e.id AS epoch, {} AS in_force, o.id AS id,
                 o.registration AS known_as, c.start_offset AS dead_start
             FROM epoch e LEFT JOIN objects o ON o.id IN ({})
             LEFT JOIN chunks c ON c.object_id = o.id AND c.state = 'dead'",
            in_force(&self.db, "e"),
            placeholders(1, chunks.len())
        );
        let ids = chunks.iter().map(|chunk| Value::from(chunk.object.get()));
        let rows: Vec<Registered> = query(&self.db, "look up objects", &sql, ids).await?;
        let in_force =
            rows.first().is_some_and(|row| row.in_force && row.epoch == epoch.to_string());
        if !in_force {
            return Ok(Admission::EpochEnded);
        }
        let is_registered = |chunk: &ChunkRange| {
            let incarnation = Some(&chunk.incarnation);
            let mut rows = rows.iter();
            rows.any(|row| {
                row.id == Some(chunk.object.get()) && row.known_as.as_ref() == incarnation
            })
        };
        let is_dead = |chunk: &ChunkRange| {
            let start = Some(chunk.start.cast_signed());
            let mut rows = rows.iter();
            rows.any(|row| row.id == Some(chunk.object.get()) && row.dead_start == start)
        };
        let stale: Vec<ChunkRange> = chunks
            .iter()
            .filter(|chunk| !is_registered(chunk) || is_dead(chunk))
            .map(|chunk| ChunkRange::clone(chunk))
            .collect();
        Ok(if !stale.is_empty() {
            Admission::Except(stale)
        } else if rows.iter().any(|row| row.dead_start.is_some()) {
            Admission::AllNow
        } else {
            Admission::All
        })
    }
}
