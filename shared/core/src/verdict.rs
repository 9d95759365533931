//! The dedup store's verdict on a record.

use crate::Position;

/// How to write a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Write it unless the row has a higher rank; an equal row takes the new rank.
    Write,
    /// Write it unless the row has a higher rank or the same content.
    WriteIfChanged,
    /// The row already has this content: nothing to write.
    Unchanged,
    /// A line of a higher rank, at this position, was claimed: nothing to write, once that line is committed.
    Superseded(Position),
}
