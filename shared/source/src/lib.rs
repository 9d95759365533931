//! Where objects come from, and where received ones are stored.
//!
//! [`Source`] and [`ObjectStore`] are ports: their doc comments are their contracts, every adapter is one module, and all of
//! them pass the same suites, `tests/it/conformance.rs` and `uploads.rs`. [`open`] and [`open_store`] pick the adapter for a
//! [`Location`].

mod braces;
mod directory;
mod glob;
mod intake_store;
mod listing;
mod location;
mod locations;
mod object_store;
mod own_database;
mod pattern;
mod s3;

use std::{ops::Range, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
pub use directory::Directory;
use futures::{TryStreamExt as _, stream::BoxStream};
pub use glob::InvalidPattern;
pub use intake_store::IntakeStore;
pub use jetline_core::ObjectVersion;
use jetline_runtime::terminal::Escaped;
pub use listing::{Listing, Skipped};
use location::Place;
pub use location::{InvalidLocation, Location};
pub use locations::Locations;
pub use object_store::{ObjectStore, PartWriter, Upload};
pub use own_database::OwnDatabase;
pub use pattern::Pattern;
pub use s3::{S3, S3Config};

/// Opens a location with its adapter. [`Error::NotFound`] if a local path does not exist.
pub async fn open(location: &Location, config: &S3Config) -> Result<Arc<dyn Source>, Error> {
    open_without(location, config, &OwnDatabase::default()).await
}

/// Like [`open`], but excludes the files of a database.
pub async fn open_without(
    location: &Location,
    config: &S3Config,
    own: &OwnDatabase,
) -> Result<Arc<dyn Source>, Error> {
    Ok(match &location.place {
        Place::S3 { bucket, keys } => Arc::new(S3::connect(bucket, keys.clone(), config).await?),
        Place::Local { literal, path, files } => {
            let (path, files) = meant(literal.as_deref(), path, files).await?;
            let directory = Directory::open(path, files).await?;
            Arc::new(directory.without(own.clone()))
        }
    })
}

/// Opens a location for writing: a directory, which is created if it does not exist, or the prefix of a bucket.
///
/// [`Error::Refused`] if it is something else. No request is sent to the bucket yet.
pub async fn open_store(
    location: &Location,
    config: &S3Config,
) -> Result<Arc<dyn ObjectStore>, Error> {
    Ok(match &location.place {
        Place::S3 { bucket, keys } => {
            object_store::check_directory(location, keys)?;
            let keys = object_store::below(keys.prefix());
            Arc::new(S3::connect(bucket, keys, config).await?)
        }
        Place::Local { literal, path, files } => {
            let (path, files) = meant(literal.as_deref(), path, files).await?;
            object_store::check_directory(location, &files)?;
            Arc::new(Directory::create(path).await?)
        }
    })
}

/// The local path that is meant, and which of its files.
async fn meant<'a>(
    literal: Option<&'a Path>,
    path: &'a Path,
    files: &Pattern,
) -> Result<(&'a Path, Pattern), Error> {
    match literal {
        Some(literal) if directory::exists(literal).await? => Ok((literal, Pattern::all())),
        _ => Ok((path, files.clone())),
    }
}

/// Lists object versions and reads them.
#[async_trait]
pub trait Source: Send + Sync {
    /// What keys are relative to: `s3://bucket` or `file:///directory`. Object versions carry it.
    fn root(&self) -> &str;

    /// Every current object version that matches, page by page.
    ///
    /// Hidden files and directory placeholders are excluded: keys with a segment that starts with `.` or `_` below the
    /// location where the pattern's segment does not, and keys that end in `/`. An entry that matches and cannot be read as
    /// it is does not fail the listing: it is returned as skipped. So is a key that only lies below a directory of the
    /// location, if its name does not end in the extension of a format.
    fn pages(&self) -> BoxStream<'_, Result<Listing, Error>>;

    /// All pages, in memory.
    async fn list(&self) -> Result<Listing, Error> {
        let mut pages = self.pages();
        let mut listing = Listing::default();
        while let Some(page) = pages.try_next().await? {
            listing.add(page);
        }
        Ok(listing.in_order())
    }

    /// The current version of the object with this key, whether or not it matches; `None` if there is none.
    async fn find(&self, key: &str) -> Result<Option<ObjectVersion>, Error>;

    /// A range of the stored (not decompressed) bytes of exactly that version, in order and in bounded memory.
    ///
    /// The stream ends after the last byte of the range, or with an error: [`Error::Changed`] once the object is known to
    /// have another version, [`Error::Deleted`] once it is known not to exist. All bytes before an error are of that
    /// version.
    fn read(&self, object: &ObjectVersion, range: Range<u64>) -> ByteStream;
}

/// Blocks of bytes, of any size.
pub type ByteStream = BoxStream<'static, Result<Bytes, Error>>;

/// Why a source could not list or read, or a store could not write.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object has another version.
    #[error("{} was overwritten while it was read", Escaped(.uri))]
    Changed {
        /// The object's URI.
        uri: String,
    },
    /// The object no longer exists.
    #[error("{} was deleted while it was read", Escaped(.uri))]
    Deleted {
        /// The object's URI.
        uri: String,
    },
    /// A store has an object of this key already. It is unchanged.
    #[error("cannot write {}: an object of this key exists", Escaped(.uri))]
    AlreadyExists {
        /// The object's URI.
        uri: String,
    },
    /// The bucket or path of a source does not exist; it may be created later.
    #[error("cannot list {}: {reason}", Escaped(.uri))]
    NotFound {
        /// The URI of the bucket or path.
        uri: String,
        /// What is missing and which setting to look at.
        reason: String,
    },
    /// The source or the object cannot be read or written with this configuration, these permissions, or at this time; the
    /// object itself is not the cause. A short wait does not help.
    #[error("cannot {action} {}: {reason}", Escaped(.uri))]
    Refused {
        /// `list`, `read`, `write` or `delete`.
        action: &'static str,
        /// The URI of the source or the object.
        uri: String,
        /// What is wrong and which setting to look at.
        reason: String,
    },
    /// The source or store is unavailable; a retry may help.
    #[error("cannot {action} {}", Escaped(.uri))]
    Unavailable {
        /// `list`, `read`, `write` or `delete`.
        action: &'static str,
        /// The URI of the source or the object.
        uri: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
