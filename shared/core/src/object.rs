//! An object version.

use chrono::{DateTime, Utc};

/// An object with one content. An overwritten key is another object version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObjectVersion {
    /// The source's root.
    pub root: String,
    /// The path below the root.
    pub key: String,
    /// Changes with the content: the `ETag`, or size and time if there is none.
    pub etag: String,
    /// In bytes, as stored.
    pub size: u64,
    /// When it was written.
    pub last_modified: DateTime<Utc>,
}

impl ObjectVersion {
    /// The object's URI: root and key.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{}/{}", self.root, self.key)
    }
}
