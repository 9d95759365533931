//! Where objects come from.
//!
//! [`Source`] is a port: what it promises stands in its doc comment, every adapter is one module, and all of them pass
//! the same suite, `tests/it/conformance.rs`. [`open`] picks the adapter for a [`Location`].

mod braces;
mod directory;
mod glob;
mod listing;
mod location;
mod locations;
mod own_database;
mod pattern;
mod s3;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
pub use directory::Directory;
use futures::stream::BoxStream;
pub use glob::InvalidPattern;
use listing::Shown;
pub use listing::{LeftOut, Listing};
use location::Place;
pub use location::{InvalidLocation, Location};
pub use locations::Locations;
pub use own_database::OwnDatabase;
pub use pattern::Pattern;
pub use s3::{S3, S3Access, S3Config};

/// Opens a location with its adapter. [`Error::Absent`] when it is a local one that does not exist.
pub async fn open(location: &Location, config: &S3Config) -> Result<Arc<dyn Source>, Error> {
    open_without(location, config, &OwnDatabase::default()).await
}

/// The same without the files of a database, which are no objects of it.
pub async fn open_without(
    location: &Location,
    config: &S3Config,
    own: &OwnDatabase,
) -> Result<Arc<dyn Source>, Error> {
    Ok(match &location.place {
        Place::S3 { bucket, keys } => Arc::new(S3::connect(bucket, keys.clone(), config).await?),
        Place::Local {
            literal,
            path,
            files,
        } => {
            let exact = match literal {
                Some(literal) => directory::exists(literal).await?,
                None => false,
            };
            let (path, files) = match literal {
                Some(literal) if exact => (literal, Pattern::all()),
                _ => (path, files.clone()),
            };
            let directory = Directory::open(path, files).await?;
            Arc::new(directory.without(own.clone()))
        }
    })
}

/// Lists object versions and reads them.
#[async_trait]
pub trait Source: Send + Sync {
    /// Names the place that keys are relative to: `s3://bucket` or `file:///directory`. Object versions carry it.
    fn root(&self) -> &str;

    /// Every object version that is there now and matches, however many there are.
    ///
    /// Not meant are hidden files and directories' placeholders: a key with a segment that starts with `.` or `_` below
    /// the location where the pattern's segment does not, and keys that end in `/`. An entry that is meant and can never
    /// be read as it is costs only itself: it is among those that were left out.
    async fn list(&self) -> Result<Listing, Error>;

    /// The bytes of exactly that version in a range of its stored (not decompressed) bytes, in order and in bounded
    /// memory.
    ///
    /// The stream ends after the last byte of the range, or with an error: [`Error::Changed`] as soon as the object is
    /// certainly another version, [`Error::Gone`] when it is certainly not there any more. What came before an error is
    /// of that version.
    fn read(&self, object: &ObjectVersion, range: Range<u64>) -> ByteStream;
}

/// Blocks of bytes, of any size.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// One object with one content. An overwritten key is another object version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The source's root.
    pub root: String,
    /// The path below the root.
    pub key: String,
    /// What changes with the content: the `ETag`, or size and time where there is none.
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
    #[error("{} was overwritten while it was read", Shown(.uri))]
    Changed {
        /// The object's address.
        uri: String,
    },
    /// The object is not there any more.
    #[error("{} was deleted while it was read", Shown(.uri))]
    Gone {
        /// The object's address.
        uri: String,
    },
    /// The place does not exist; somebody may be about to make it.
    #[error("cannot list {}: {reason}", Shown(.uri))]
    Absent {
        /// The place's address.
        uri: String,
        /// What is missing and which setting to look at.
        reason: String,
    },
    /// The place or the object cannot be read by this reader as it is set, or not now; it says nothing against the
    /// object's content. Waiting a moment does not help.
    #[error("cannot {action} {}: {reason}", Shown(.uri))]
    Refused {
        /// `list` or `read`.
        action: &'static str,
        /// The place's or the object's address.
        uri: String,
        /// What is wrong and which setting to look at.
        reason: String,
    },
    /// The place cannot be reached or does not answer as it should; waiting helps.
    #[error("cannot {action} {}", Shown(.uri))]
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
