//! What a record does to the row that there is.

use std::cmp::Ordering;

use jetline_records::Fingerprint;

use super::Judged;

/// What is looked up of a row.
pub(super) struct Old {
    /// Its version and position.
    pub(super) rank: (i64, i64),
    pub(super) fingerprint: Fingerprint,
}

/// What a record does.
pub(super) enum Change {
    /// There is no row yet.
    Insert,
    /// The row says something else.
    Update,
    /// The row says the same and takes the new rank.
    Raise,
    /// The row says the same and may be left alone, or it is this very line.
    Nothing,
    /// The row has a higher rank.
    Superseded,
}

impl Change {
    pub(super) fn of(old: Option<&Old>, judged: &Judged) -> Self {
        let Some(old) = old else {
            return Self::Insert;
        };
        let same = old.fingerprint == judged.row.fingerprint;
        match old.rank.cmp(&(judged.row.version, judged.position.get())) {
            Ordering::Greater => Self::Superseded,
            Ordering::Equal => Self::Nothing,
            Ordering::Less if !same => Self::Update,
            Ordering::Less if judged.if_changed => Self::Nothing,
            Ordering::Less => Self::Raise,
        }
    }
}
