//! A chunk: a run of whole lines of an object, the unit of queueing and committing.

use crate::ObjectId;

/// Identifies a chunk: its object and its range in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChunkRange {
    /// The object version.
    pub object: ObjectId,
    /// The incarnation of the object, which tells it from another one with the same number.
    pub incarnation: String,
    /// Offset of the first byte, decompressed.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
    /// Number of the first line, from 1.
    pub first_line: u32,
    /// Lines, blank ones included.
    pub lines: u32,
}

/// The outcomes of the lines of a chunk, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Became rows.
    pub inserted: u64,
    /// Changed rows.
    pub updated: u64,
    /// Deleted rows, or recorded the delete of a key without a row.
    pub deleted: u64,
    /// The row had the same content.
    pub unchanged: u64,
    /// Another line of the same id superseded them.
    pub superseded: u64,
    /// Are rejected; of an object the first ones are in `rejected_lines`.
    pub rejected: u64,
    /// Were blank; not reported.
    pub blank: u64,
}

impl Counts {
    /// All lines except blank ones.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.accepted() + self.rejected
    }

    /// The lines whose records are valid.
    const fn accepted(&self) -> u64 {
        self.inserted + self.updated + self.deleted + self.unchanged + self.superseded
    }

    /// The counts after the lines were committed again in a new epoch: the rows of the first commit are in the table,
    /// and lines that are written now were superseded or unchanged then.
    #[must_use]
    pub fn amended(&self, again: Self) -> Self {
        let mut left = self.lines();
        let mut take = |lines: u64| {
            let taken = lines.min(left);
            left -= taken;
            taken
        };
        let rejected = take(again.rejected);
        let inserted = take(self.inserted + again.inserted);
        let updated = take(self.updated + again.updated);
        let deleted = take(self.deleted + again.deleted);
        let unchanged = take(self.unchanged);
        let superseded = left;
        Self { inserted, updated, deleted, unchanged, superseded, rejected, blank: self.blank }
    }
}
