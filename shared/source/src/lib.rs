//! Where objects come from.
//!
//! [`Source`] is a port: what it promises stands in its doc comment, every adapter is one module, and all of them pass
//! the same suite, `tests/it/conformance.rs`. [`open`] picks the adapter for a [`Location`].

mod directory;
mod location;
mod pattern;
mod s3;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
pub use directory::Directory;
use futures::stream::BoxStream;
use location::Place;
pub use location::{InvalidLocation, Location};
pub use pattern::Pattern;
pub use s3::{S3, S3Access, S3Config};

/// Opens a location with its adapter. [`Error::Absent`] when it is a local one that does not exist.
pub async fn open(location: &Location, config: &S3Config) -> Result<Arc<dyn Source>, Error> {
    Ok(match &location.place {
        Place::S3 { bucket, keys } => Arc::new(S3::connect(bucket, keys.clone(), config).await?),
        Place::Local { path, files } => Arc::new(Directory::open(path, files.clone()).await?),
    })
}

/// Lists object versions and reads them.
#[async_trait]
pub trait Source: Send + Sync {
    /// Names the place that keys are relative to: `s3://bucket` or `file:///directory`. Object versions carry it.
    fn root(&self) -> &str;

    /// Every object version that is there now and matches, in (last-modified, key) order, however many there are.
    ///
    /// Left out are hidden files and directories' placeholders: a key with a segment that starts with `.` or `_` below
    /// the location, and keys that end in `/`.
    async fn list(&self) -> Result<Vec<ObjectVersion>, Error>;

    /// The bytes of exactly that version in a range of its stored (not decompressed) bytes, in order and in bounded
    /// memory.
    ///
    /// The stream ends after the last byte of the range, or with an error: [`Error::Changed`] as soon as the object is
    /// another version, [`Error::Gone`] when it is not there any more. What came before an error is of that version.
    fn read(&self, object: &ObjectVersion, range: Range<u64>) -> ByteStream;
}

/// Blocks of bytes, of any size.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// One object as one `ETag`. An overwritten key is another object version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The source's root.
    pub root: String,
    /// The path below the root.
    pub key: String,
    /// What changes with the content.
    pub etag: String,
    /// In bytes, as stored.
    pub size: u64,
    /// When it was written.
    pub last_modified: DateTime<Utc>,
}

impl ObjectVersion {
    /// The object's address: root and key.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{}/{}", self.root, self.key)
    }
}

/// Why a source could not list or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object is not this version any more.
    #[error("{uri} was overwritten while it was read")]
    Changed {
        /// The object's address.
        uri: String,
    },
    /// The object is not there any more.
    #[error("{uri} was deleted while it was read")]
    Gone {
        /// The object's address.
        uri: String,
    },
    /// The place does not exist; somebody may be about to make it.
    #[error("cannot list {uri}: {reason}")]
    Absent {
        /// The place's address.
        uri: String,
        /// What is missing and which setting to look at.
        reason: String,
    },
    /// The place may not be read with these credentials, or is none that can be read; waiting does not help.
    #[error("cannot {action} {uri}: {reason}")]
    Refused {
        /// `list` or `read`.
        action: &'static str,
        /// The place's or the object's address.
        uri: String,
        /// What is wrong and which setting to look at.
        reason: String,
    },
    /// The place cannot be reached or does not answer as it should; waiting helps.
    #[error("cannot {action} {uri}")]
    Unavailable {
        /// `list` or `read`.
        action: &'static str,
        /// The place's or the object's address.
        uri: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
