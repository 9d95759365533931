//! The dedup store's verdict on a record.

use crate::{Fingerprint, ObjectId, Position, Rank};

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

/// What a dedup store has of a record: its latest claimed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The rank of the line.
    pub rank: Rank,
    /// The fingerprint of its content.
    pub fingerprint: Fingerprint,
    /// Its line was unchanged: the row has this content.
    pub is_stored: bool,
}

impl Verdict {
    /// The verdict on a line where the entry of its id is `held`; entries of objects below `trusted` are of settled lines.
    ///
    /// `claim.lua` is the same rule for Redis. A test compares both with random claims.
    #[must_use]
    pub fn of(
        held: Option<&Entry>,
        rank: Rank,
        fingerprint: Fingerprint,
        trusted: ObjectId,
    ) -> Self {
        let Some(held) = held else {
            return Self::WriteIfChanged;
        };
        let is_stored = held.is_stored || held.rank.position.object() < trusted;
        if held.rank > rank {
            Self::Superseded(held.rank.position)
        } else if held.fingerprint == fingerprint && is_stored {
            Self::Unchanged
        } else {
            Self::Write
        }
    }

    /// The entry of the id after this verdict; `None` if it stays as it is.
    #[must_use]
    pub fn entry(self, rank: Rank, fingerprint: Fingerprint) -> Option<Entry> {
        match self {
            Self::Superseded(_) => None,
            _ => Some(Entry { rank, fingerprint, is_stored: self == Self::Unchanged }),
        }
    }
}
