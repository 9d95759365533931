//! What dedup says of a record before the database is asked.

use crate::Position;

/// What to do with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Write it unless the row has a higher rank; an equal row takes the new rank.
    Write,
    /// Write it unless the row has a higher rank or the same content.
    WriteIfChanged,
    /// The row says so already: nothing to write.
    Unchanged,
    /// A line of a higher rank was claimed, which stands here: nothing to write, once that line is committed.
    Superseded(Position),
}
