//! The change that a new row makes to the stored one.

use std::cmp::Ordering;

use jetline_core::{Fingerprint, Key};
use jetline_datasets::{Dataset, Type};
use sea_orm::{DbErr, FromQueryResult, QueryResult};

use super::UpsertRow;

/// The part of a stored row that decides about a change.
pub(crate) struct StoredRow {
    /// Its version and position.
    pub(crate) rank: (i64, i64),
    pub(crate) fingerprint: Fingerprint,
}

/// A stored row as it is read, before the type of its key is known.
pub(crate) struct UntypedRow {
    id: Result<i64, String>,
    rank: (i64, i64),
    fingerprint: Vec<u8>,
}

impl FromQueryResult for UntypedRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let id = match row.try_get::<i64>("", "id") {
            Ok(id) => Ok(id),
            Err(_) => Err(row.try_get("", "id")?),
        };
        Ok(Self {
            id,
            rank: (row.try_get("", "version")?, row.try_get("", "jetline_position")?),
            fingerprint: row.try_get("", "jetline_fingerprint")?,
        })
    }
}

impl UntypedRow {
    pub(crate) fn with_key(self, dataset: &Dataset) -> Result<(Key, StoredRow), DbErr> {
        let key = match (self.id, dataset.key().column_type) {
            (Ok(id), Type::Bigint) => Key::Int(id),
            (Ok(id), _) => Key::Text(id.to_string()),
            (Err(id), _) => Key::Text(id),
        };
        let stored = StoredRow {
            rank: self.rank,
            fingerprint: Fingerprint::try_from(&self.fingerprint[..]).map_err(|_| {
                DbErr::Type("a fingerprint of another length than 16 bytes".to_owned())
            })?,
        };
        Ok((key, stored))
    }
}

/// The change of a stored row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
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
    /// With `rewrite`, stored fingerprints are not trusted: whatever is not superseded is written.
    pub(crate) fn of(stored: Option<&StoredRow>, new: &UpsertRow, rewrite: bool) -> Self {
        let Some(stored) = stored else {
            return Self::Insert;
        };
        let same = stored.fingerprint == new.row.fingerprint;
        match stored.rank.cmp(&(new.row.version, new.position.get())) {
            Ordering::Greater => Self::Superseded,
            // A line that is replayed by another declaration may have another content at the same rank.
            _ if !same => Self::Update,
            _ if rewrite => Self::Raise,
            Ordering::Equal => Self::Nothing,
            Ordering::Less if new.if_changed => Self::Nothing,
            Ordering::Less => Self::Raise,
        }
    }
}
