//! The types of records' ids.

use jetline_core::Key;
use poem_openapi::types::ParseFromParameter;

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
