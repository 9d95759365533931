//! A record's id, without its Rust type.

use std::fmt;

use poem_openapi::types::ParseFromParameter;
use sea_orm::Value;

/// The id of a record of any dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
}

impl From<Key> for Value {
    fn from(key: Key) -> Self {
        match key {
            Key::Int(id) => id.into(),
            Key::Text(id) => id.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(id) => id.fmt(f),
            Self::Text(id) => id.fmt(f),
        }
    }
}

/// How a dataset's ids are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdType {
    /// `bigint`
    Int,
    /// `text`
    Text,
}

/// The type of a record's id: `i64` or `String`.
pub trait RecordId: ParseFromParameter + Clone + Send + Sync + 'static {
    /// How such ids are stored.
    const TYPE: IdType;

    /// The id as a key.
    fn key(&self) -> Key;
}

impl RecordId for i64 {
    const TYPE: IdType = IdType::Int;

    fn key(&self) -> Key {
        Key::Int(*self)
    }
}

impl RecordId for String {
    const TYPE: IdType = IdType::Text;

    fn key(&self) -> Key {
        Key::Text(self.clone())
    }
}
