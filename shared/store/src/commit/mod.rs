//! One transaction for the rows, the rejected lines and the ledger entries of one or several chunks.

mod entries;
mod rejects;
mod search;
mod table;
mod upsert;

use std::mem;

use jetline_records::{EpochId, ObjectId, Position, Rejection, Row, Table};
pub use search::Refused;
use upsert::Upserted;

use crate::{
    Error, Ledger,
    backend::{self, Lock},
    database,
    ledger::commit,
};

/// Which part of which object a chunk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// The object version.
    pub object: ObjectId,
    /// Its registration, which tells it from another object of the same number.
    pub registration: String,
    /// Offset of the first byte, decompressed.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// Number of the first line, from 1.
    pub first_line: u32,
    /// Lines, blank ones included.
    pub lines: u32,
}

/// A chunk whose lines are parsed and judged.
#[derive(Clone, Debug)]
pub struct ChunkRows {
    /// Which chunk.
    pub entry: ChunkEntry,
    /// The records to write: each id at most once in all chunks of a commit.
    pub rows: Vec<Judged>,
    /// Lines that need no row, because the row says so already.
    pub unchanged: u64,
    /// Lines that need no row, because a later line has the same id.
    pub superseded: u64,
    /// Lines that were not taken.
    pub rejected: Vec<RejectedLine>,
    /// Lines that hold nothing.
    pub blank: u64,
    /// The lines that outdid lines of this chunk, by claims.
    pub outdone_by: Vec<OutdoneBy>,
}

/// Lines of an object that outdid others: all between two of them, which may be too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutdoneBy {
    /// Whose lines.
    pub object: ObjectId,
    /// The number of the first one.
    pub first_line: u32,
    /// The number of the last one.
    pub last_line: u32,
}

/// A record to write.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The record.
    pub row: Row,
    /// Where its line stands.
    pub position: Position,
    /// Leave a row with the same content alone; otherwise it takes the new rank.
    pub if_changed: bool,
}

/// A line that was not taken.
#[derive(Clone, Debug)]
pub struct RejectedLine {
    /// The line's number, from 1.
    pub line: u32,
    /// Offset of its first byte, decompressed.
    pub offset: u64,
    /// Why.
    pub rejection: Rejection,
    /// The line as it was.
    pub raw: Vec<u8>,
}

/// What became of the lines of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Became rows.
    pub inserted: u64,
    /// Changed rows.
    pub updated: u64,
    /// The row said so already.
    pub unchanged: u64,
    /// A later line has the same id.
    pub superseded: u64,
    /// Stand in `rejected_lines`.
    pub rejected: u64,
    /// Held nothing; not among the lines that are told.
    pub blank: u64,
}

impl Counts {
    /// All lines, blank ones left out.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.inserted + self.updated + self.unchanged + self.superseded + self.rejected
    }

    /// What became of the lines when they are committed again in a new epoch: the rows of the first time are there, and
    /// what is written now was superseded then, or unchanged.
    fn amended(&self, again: Self) -> Self {
        let mut left = self.lines();
        let mut take = |lines: u64| {
            let taken = lines.min(left);
            left -= taken;
            taken
        };
        let rejected = take(again.rejected);
        let inserted = take(self.inserted + again.inserted);
        let updated = take(self.updated + again.updated);
        let unchanged = take(self.unchanged);
        Self {
            inserted,
            updated,
            unchanged,
            superseded: left,
            rejected,
            blank: self.blank,
        }
    }
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// One outcome per chunk, in their order.
    Committed(Vec<ChunkOutcome>),
    /// Nothing: another epoch is in force. Claim again.
    EpochEnded,
    /// Nothing: rows were written without an error and are not there. [`Ledger::refused`] says which.
    Suppressed,
    /// Nothing: some of the chunks are stale. Commit the others without them, newly claimed.
    Stale(Vec<ChunkEntry>),
    /// Nothing: some of the chunks were committed before, perhaps without lines that outdid some of the others. Commit the
    /// others without them, newly claimed.
    Repeated(Vec<ChunkEntry>),
    /// Nothing: somebody else committed one of the chunks meanwhile. Commit again.
    Raced,
}

/// What became of a chunk in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkOutcome {
    /// It is committed, with these counts.
    Committed(Counts),
    /// It was committed before: nothing was done.
    AlreadyCommitted,
}

impl Ledger {
    /// Commits chunks that were claimed under `epoch`, all of one table, in one transaction.
    ///
    /// Where an error [may be of a row](Error::may_be_of_a_row), [`Ledger::refused`] says of which; nothing was committed.
    pub async fn commit(
        &self,
        epoch: EpochId,
        table: &Table,
        chunks: Vec<ChunkRows>,
    ) -> Result<CommitOutcome, Error> {
        if chunks.is_empty() {
            return Ok(CommitOutcome::Committed(Vec::new()));
        }
        let tx = database::begin(&self.db).await?;
        backend::lock(&tx, Lock::EpochShared).await?;
        let known = match entries::check(&tx, epoch, &chunks).await? {
            entries::Check::EpochEnded => return Ok(CommitOutcome::EpochEnded),
            entries::Check::Stale(stale) => return Ok(CommitOutcome::Stale(stale)),
            entries::Check::Known(known) => known,
        };
        let repeated = chunks
            .iter()
            .filter(|chunk| known.is_committed(&chunk.entry));
        let repeated: Vec<ChunkEntry> = repeated.map(|chunk| chunk.entry.clone()).collect();
        if repeated.len() == chunks.len() {
            let outcomes = vec![ChunkOutcome::AlreadyCommitted; chunks.len()];
            return Ok(CommitOutcome::Committed(outcomes));
        }
        if !repeated.is_empty() {
            return Ok(CommitOutcome::Repeated(repeated));
        }
        let mut chunks = chunks;
        let rows = chunks.iter_mut().map(|chunk| in_force(chunk, &known));
        let rows: Vec<Vec<Judged>> = rows.collect();
        let now = (self.now)();
        let Upserted {
            written,
            suppressed,
            ..
        } = upsert::upsert(&tx, table, rows, now, known.rewrites()).await?;
        if !suppressed.is_empty() {
            return Ok(CommitOutcome::Suppressed);
        }
        let again = chunks.iter().filter(|chunk| {
            let first = known.first_counts(&chunk.entry);
            first.is_some_and(|first| first.rejected > 0)
        });
        rejects::remove(&tx, again).await?;
        rejects::insert(&tx, &chunks).await?;
        let counts: Vec<Counts> = chunks
            .iter()
            .zip(written)
            .map(|(chunk, written)| {
                let counts = counts(chunk, written);
                let first = known.first_counts(&chunk.entry);
                first.map_or(counts, |first| first.amended(counts))
            })
            .collect();
        if !entries::insert(&tx, &chunks, &counts, now).await? {
            return Ok(CommitOutcome::Raced);
        }
        commit(tx, "commit chunks").await?;
        let outcomes = counts.into_iter().map(ChunkOutcome::Committed);
        Ok(CommitOutcome::Committed(outcomes.collect()))
    }
}

/// Takes the rows out of a chunk, with the verdicts that hold for them.
fn in_force(chunk: &mut ChunkRows, known: &entries::Known) -> Vec<Judged> {
    let mut rows = mem::take(&mut chunk.rows);
    if known.is_out_of_order(&chunk.entry) {
        for row in &mut rows {
            row.if_changed = false;
        }
    }
    rows
}

/// What an upsert did with the rows of one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written {
    inserted: u64,
    updated: u64,
    unchanged: u64,
    superseded: u64,
}

fn counts(chunk: &ChunkRows, written: Written) -> Counts {
    Counts {
        inserted: written.inserted,
        updated: written.updated,
        unchanged: written.unchanged + chunk.unchanged,
        superseded: written.superseded + chunk.superseded,
        rejected: chunk.rejected.len() as u64,
        blank: chunk.blank,
    }
}
