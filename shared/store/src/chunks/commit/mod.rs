//! The commit: one transaction for the rows, the rejected lines and the ledger entries of a batch of chunks.

mod entries;
mod rejects;
mod search;
mod table;

use std::{mem, ops::ControlFlow};

use chrono::{DateTime, Utc};
use entries::Known;
use jetline_core::{ChunkRange, Counts, EpochId};
use jetline_datasets::{Dataset, Rejection, UnknownFields};
pub use search::RefusedRow;
use search::{Found, Search};

use crate::{
    ChunkLedger, Error, SupersededBy,
    dialect::{self, Lock},
    history::Versions,
    outbox,
    statement::execute,
    transaction::Transaction,
    upsert::{KeyClaim, UpsertRow, Written},
};

/// A chunk whose lines are parsed and claimed.
#[derive(Clone, Debug)]
pub struct ChunkRows {
    /// Identifies the chunk.
    pub range: ChunkRange,
    /// The rows to write: each id at most once in all chunks of a commit.
    pub rows: Vec<UpsertRow>,
    /// Number of lines that are not written because the row has the same content.
    pub unchanged: u64,
    /// Number of lines that are not written because another line of the same id supersedes them.
    pub superseded: u64,
    /// Superseded lines that take the place of a refused one. There are none where lines are claimed.
    pub replacements: Vec<UpsertRow>,
    /// All valid records of the chunk, where the dataset has a history.
    pub history: Vec<UpsertRow>,
    /// The rejected lines.
    pub rejected: Vec<RejectedLine>,
    /// Number of blank lines.
    pub blank: u64,
    /// The lines that superseded lines of this chunk, by their claims.
    pub superseded_by: Vec<SupersededBy>,
    /// The fields of its records that no column takes.
    pub unknown: UnknownFields,
}

impl ChunkRows {
    /// For chunks that were claimed twice: the earlier claims of their ids may be their own.
    pub fn forget_earlier_claims(&mut self) {
        for row in self.rows.iter_mut().filter(|row| row.claim == KeyClaim::AfterAnother) {
            row.claim = KeyClaim::Unknown;
        }
    }

    /// All lines except blank ones.
    fn lines(&self) -> u64 {
        (self.rows.len() + self.rejected.len()) as u64 + self.unchanged + self.superseded
    }
}

/// A rejected line.
#[derive(Clone, Debug)]
pub struct RejectedLine {
    /// The line's number, from 1.
    pub line: u32,
    /// Offset of its first byte, decompressed.
    pub offset: u64,
    /// Why it was rejected.
    pub rejection: Rejection,
    /// The bytes of the line.
    pub raw: Vec<u8>,
}

/// The outcome of a commit. Except for `Committed`, nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// One outcome per chunk, in their order.
    Committed(Vec<ChunkOutcome>),
    /// Another epoch is in force: claim again.
    EpochEnded,
    /// Rows were not written, and nothing says which and why; [`ChunkLedger::refused`] does.
    NotWritten,
    /// Some of the chunks are stale: claim and commit the others without them.
    Stale(Vec<ChunkRange>),
    /// Some of the chunks were committed before, perhaps without lines that superseded some of the others: claim and
    /// commit the others without them.
    Repeated(Vec<ChunkRange>),
    /// A concurrent transaction committed one of the chunks: commit again.
    Raced,
}

/// The outcome of a chunk in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkOutcome {
    /// It was committed, with these counts.
    Committed(Counts),
    /// It was committed before: nothing was written.
    AlreadyCommitted,
}

/// A transaction in which chunks may be committed.
struct Begun {
    tx: Transaction,
    known: Known,
    now: DateTime<Utc>,
}

impl ChunkLedger {
    /// Commits chunks that were claimed under `epoch`, all of one table, in one transaction.
    ///
    /// Where an error [may be caused by a row](Error::may_be_caused_by_row), [`ChunkLedger::refused`] says by which.
    pub async fn commit(
        &self,
        epoch: EpochId,
        dataset: &Dataset,
        mut chunks: Vec<ChunkRows>,
    ) -> Result<CommitOutcome, Error> {
        let Begun { tx, known, now } = match self.begin_commit(epoch, &chunks).await? {
            ControlFlow::Continue(begun) => begun,
            ControlFlow::Break(outcome) => return Ok(outcome),
        };
        let (rows, rewrite) = (take_rows(&mut chunks, &known), known.rewrites());
        let raise = rewrite || known.is_any_out_of_order(&chunks);
        let versions = Versions::take(&mut chunks, raise);
        let upserted = table::upsert(&tx, dataset, rows, chunks.len(), now, rewrite).await?;
        if !upserted.suppressed.is_empty() {
            return Ok(CommitOutcome::NotWritten);
        }
        versions.write(&tx, dataset, &[], now).await?;
        outbox::append(&tx, dataset, &upserted.changed).await?;
        finish_commit(Begun { tx, known, now }, &chunks, &upserted.written).await
    }

    /// Commits chunks as [`ChunkLedger::commit`] does, and rejects the lines of rows that the database refuses. It is slower
    /// where none is refused, and much faster than a commit that fails, a search and another commit.
    ///
    /// `reject` gets the refused rows, and returns the rejected lines of each chunk.
    pub async fn commit_and_reject(
        &self,
        epoch: EpochId,
        dataset: &Dataset,
        mut chunks: Vec<ChunkRows>,
        reject: &mut (dyn FnMut(Vec<RefusedRow>) -> Vec<Vec<RejectedLine>> + Send),
    ) -> Result<CommitOutcome, Error> {
        let Begun { tx, known, now } = match self.begin_commit(epoch, &chunks).await? {
            ControlFlow::Continue(begun) => begun,
            ControlFlow::Break(outcome) => return Ok(outcome),
        };
        let totals: Vec<u64> = chunks.iter().map(ChunkRows::lines).collect();
        for chunk in &mut chunks {
            chunk.rows.append(&mut chunk.replacements);
        }
        let rows = take_rows(&mut chunks, &known);
        let raise = known.rewrites() || known.is_any_out_of_order(&chunks);
        let versions = Versions::take(&mut chunks, raise);
        let mut search = Search::new(self, tx, dataset, now, known.rewrites(), chunks.len());
        search.write(rows).await?;
        let Some(Found { tx, refused, upserted }) = search.into_found() else {
            return Ok(CommitOutcome::NotWritten);
        };
        versions.write(&tx, dataset, &refused, now).await?;
        if !refused.is_empty() {
            for (chunk, rejected) in chunks.iter_mut().zip(reject(refused)) {
                chunk.rejected = rejected;
            }
        }
        for ((chunk, total), written) in chunks.iter_mut().zip(totals).zip(&upserted.written) {
            let others = chunk.unchanged + chunk.rejected.len() as u64 + written.rows();
            chunk.superseded = total.saturating_sub(others);
        }
        outbox::append(&tx, dataset, &upserted.changed).await?;
        finish_commit(Begun { tx, known, now }, &chunks, &upserted.written).await
    }

    /// Begins a transaction and checks that chunks may be committed; otherwise answers the outcome.
    async fn begin_commit(
        &self,
        epoch: EpochId,
        chunks: &[ChunkRows],
    ) -> Result<ControlFlow<CommitOutcome, Begun>, Error> {
        if chunks.is_empty() {
            return Ok(ControlFlow::Break(CommitOutcome::Committed(Vec::new())));
        }
        let tx = Transaction::begin(&self.db).await?;
        dialect::of(&tx).lock(&tx, Lock::EpochShared).await?;
        let known = match entries::check(&tx, epoch, chunks).await? {
            entries::Check::EpochEnded => {
                return Ok(ControlFlow::Break(CommitOutcome::EpochEnded));
            }
            entries::Check::Stale(stale) => {
                return Ok(ControlFlow::Break(CommitOutcome::Stale(stale)));
            }
            entries::Check::Known(known) => known,
        };
        let repeated = chunks.iter().filter(|chunk| known.is_committed(&chunk.range));
        let repeated: Vec<ChunkRange> = repeated.map(|chunk| chunk.range.clone()).collect();
        if repeated.len() == chunks.len() {
            let outcomes = vec![ChunkOutcome::AlreadyCommitted; chunks.len()];
            return Ok(ControlFlow::Break(CommitOutcome::Committed(outcomes)));
        }
        if !repeated.is_empty() {
            return Ok(ControlFlow::Break(CommitOutcome::Repeated(repeated)));
        }
        // A crash of the database ends the epoch, and what of the last commits it takes back is read again. The commit that
        // ends an object waits for the disk, and thereby for those of its chunks.
        if known.is_shared()
            && let Some(sql) = dialect::of(&tx).commit_without_waiting()
        {
            execute(&tx, "commit without waiting", sql, []).await?;
        }
        Ok(ControlFlow::Continue(Begun { tx, known, now: (self.now)() }))
    }
}

/// Writes the rejected lines and the ledger entries of chunks whose rows are written, and commits.
async fn finish_commit(
    Begun { tx, known, now }: Begun,
    chunks: &[ChunkRows],
    written: &[Written],
) -> Result<CommitOutcome, Error> {
    let again = chunks.iter().filter(|chunk| {
        let first = known.first_counts(&chunk.range);
        first.is_some_and(|first| first.rejected > 0)
    });
    rejects::remove(&tx, again).await?;
    rejects::insert(&tx, chunks).await?;
    let counts: Vec<Counts> = chunks
        .iter()
        .zip(written)
        .map(|(chunk, written)| {
            let counts = counts(chunk, *written);
            let first = known.first_counts(&chunk.range);
            first.map_or(counts, |first| first.amended(counts))
        })
        .collect();
    if !entries::insert(&tx, chunks, &counts, now).await? {
        return Ok(CommitOutcome::Raced);
    }
    tx.commit("commit chunks").await?;
    let outcomes = counts.into_iter().map(ChunkOutcome::Committed);
    Ok(CommitOutcome::Committed(outcomes.collect()))
}

/// Takes the rows out of chunks, each with the index of its chunk. Out of order, rows with the same content have to take
/// the new rank as well.
fn take_rows(chunks: &mut [ChunkRows], known: &Known) -> Vec<(usize, UpsertRow)> {
    let mut rows = Vec::with_capacity(chunks.iter().map(|chunk| chunk.rows.len()).sum());
    for (index, chunk) in chunks.iter_mut().enumerate() {
        let in_order = !known.is_out_of_order(&chunk.range);
        rows.extend(mem::take(&mut chunk.rows).into_iter().map(|mut row| {
            row.if_changed &= in_order;
            (index, row)
        }));
    }
    rows
}

fn counts(chunk: &ChunkRows, written: Written) -> Counts {
    Counts {
        inserted: written.inserted,
        updated: written.updated,
        deleted: written.deleted,
        unchanged: written.unchanged + chunk.unchanged,
        superseded: written.superseded + chunk.superseded,
        rejected: chunk.rejected.len() as u64,
        blank: chunk.blank,
    }
}
