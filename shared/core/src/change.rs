//! The change that a new row makes to the stored one.

use std::cmp::Ordering;

use crate::{Fingerprint, Rank};

/// The change of a stored row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is no stored row.
    Insert,
    /// The content is different.
    Update,
    /// The content is the same, and the row takes the new rank.
    Raise,
    /// The content is the same, and the row may stay as it is or was written by this very line.
    Nothing,
    /// The stored row has a higher rank.
    Superseded,
}

impl Change {
    /// The change where the stored row is `stored`. With `if_changed`, a row with the same content stays as it is; with
    /// `rewrite`, stored fingerprints are not trusted: whatever is not superseded is written.
    ///
    /// The databases decide by the same rule in the conflict clauses of their upserts.
    #[must_use]
    pub fn of(
        stored: Option<(Rank, Fingerprint)>,
        rank: Rank,
        fingerprint: Fingerprint,
        if_changed: bool,
        rewrite: bool,
    ) -> Self {
        let Some((stored_rank, stored_fingerprint)) = stored else {
            return Self::Insert;
        };
        match stored_rank.cmp(&rank) {
            Ordering::Greater => Self::Superseded,
            // A line that is replayed by another declaration may have another content at the same rank.
            _ if stored_fingerprint != fingerprint => Self::Update,
            _ if rewrite => Self::Raise,
            Ordering::Equal => Self::Nothing,
            Ordering::Less if if_changed => Self::Nothing,
            Ordering::Less => Self::Raise,
        }
    }
}
