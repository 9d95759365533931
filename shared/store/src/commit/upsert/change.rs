//! What a record does to the row that there is.

use std::cmp::Ordering;

use jetline_records::{Fingerprint, IdType, Key};
use sea_orm::{DbErr, FromQueryResult, QueryResult};

use super::Judged;

/// What is looked up of a row.
pub(super) struct Old {
    /// Its version and position.
    pub(super) rank: (i64, i64),
    pub(super) fingerprint: Fingerprint,
}

/// A row as it is read, before the type of its id is known.
pub(super) struct OldRow {
    id: Result<i64, String>,
    rank: (i64, i64),
    fingerprint: Vec<u8>,
}

impl FromQueryResult for OldRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let id = match row.try_get::<i64>("", "id") {
            Ok(id) => Ok(id),
            Err(_) => Err(row.try_get("", "id")?),
        };
        Ok(Self {
            id,
            rank: (row.try_get("", "version")?, row.try_get("", "position")?),
            fingerprint: row.try_get("", "fingerprint")?,
        })
    }
}

impl OldRow {
    pub(super) fn with_key(self, id_type: IdType) -> Result<(Key, Old), DbErr> {
        let key = match (self.id, id_type) {
            (Ok(id), IdType::Int) => Key::Int(id),
            (Ok(id), IdType::Text) => Key::Text(id.to_string()),
            (Err(id), _) => Key::Text(id),
        };
        let old = Old {
            rank: self.rank,
            fingerprint: Fingerprint::try_from(&self.fingerprint[..]).map_err(|_| {
                DbErr::Type("a fingerprint of another length than 16 bytes".to_owned())
            })?,
        };
        Ok((key, old))
    }
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
    /// `rewrite` says that rows are not to be trusted: whatever is not outdone is written.
    pub(super) fn of(old: Option<&Old>, judged: &Judged, rewrite: bool) -> Self {
        let Some(old) = old else {
            return Self::Insert;
        };
        let same = old.fingerprint == judged.row.fingerprint;
        match old.rank.cmp(&(judged.row.version, judged.position.get())) {
            Ordering::Greater => Self::Superseded,
            Ordering::Equal | Ordering::Less if rewrite && same => Self::Raise,
            Ordering::Equal if rewrite => Self::Update,
            Ordering::Equal => Self::Nothing,
            Ordering::Less if !same => Self::Update,
            Ordering::Less if judged.if_changed => Self::Nothing,
            Ordering::Less => Self::Raise,
        }
    }
}
