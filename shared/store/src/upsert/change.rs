//! Stored rows, as far as they decide about a change.

use jetline_core::{Change, Fingerprint, Key, Position, Rank};
use jetline_datasets::{Dataset, Type};
use sea_orm::{DbErr, FromQueryResult, QueryResult};

use super::UpsertRow;

/// The part of a stored row that decides about a change.
pub(crate) struct StoredRow {
    pub(crate) rank: Rank,
    pub(crate) fingerprint: Fingerprint,
}

/// A stored row as it is read, before the type of its key is known.
pub(crate) struct UntypedRow {
    pub(crate) id: Result<i64, String>,
    pub(crate) version: i64,
    pub(crate) position: i64,
    pub(crate) fingerprint: Vec<u8>,
}

impl FromQueryResult for UntypedRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let id = match row.try_get::<i64>("", "id") {
            Ok(id) => Ok(id),
            Err(_) => Err(row.try_get("", "id")?),
        };
        Ok(Self {
            id,
            version: row.try_get("", "version")?,
            position: row.try_get("", "jetline_position")?,
            fingerprint: row.try_get("", "jetline_fingerprint")?,
        })
    }
}

impl StoredRow {
    /// The change that a new row makes to this one, or to none.
    pub(crate) fn change(stored: Option<&Self>, new: &UpsertRow, rewrite: bool) -> Change {
        let stored = stored.map(|stored| (stored.rank, stored.fingerprint));
        let rank = Rank { version: new.row.version, position: new.position };
        Change::of(stored, rank, new.row.fingerprint, new.if_changed, rewrite)
    }
}

impl UntypedRow {
    pub(crate) fn with_key(self, dataset: &Dataset) -> Result<(Key, StoredRow), DbErr> {
        let key = match (self.id, dataset.key().column_type) {
            (Ok(id), Type::Bigint) => Key::Int(id),
            (Ok(id), _) => Key::Text(id.to_string()),
            (Err(id), _) => Key::Text(id),
        };
        let position = Position::from_number(self.position)
            .ok_or_else(|| DbErr::Type("a position is negative".to_owned()))?;
        let stored = StoredRow {
            rank: Rank { version: self.version, position },
            fingerprint: Fingerprint::try_from(&self.fingerprint[..]).map_err(|_| {
                DbErr::Type("a fingerprint of another length than 16 bytes".to_owned())
            })?,
        };
        Ok((key, stored))
    }
}
