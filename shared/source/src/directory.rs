//! Files of a local directory.
//!
//! A file's version is its size, modification time and inode. It is checked again after every block, so that no byte of a
//! file that was modified or replaced meanwhile is returned for the listed version. Links to files are followed; links to
//! directories are skipped.
//!
//! A file is written under a hidden name in its directory, synchronized, and renamed. What a crash leaves is never listed.

mod file_read;
mod upload;
mod walk;

use std::{
    fs::{self, Metadata},
    io,
    ops::Range,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::task;

use self::{file_read::FileRead, upload::FileWriter};
use crate::{
    ByteStream, Error, Listing, ObjectStore, ObjectVersion, OwnDatabase, Pattern, Source, Upload,
    object_store::{DELETE, WRITE, check_key},
};

/// How many bytes are read or written at once.
const BLOCK: u64 = 1 << 20;

const NO_PERMISSION: &str = "permission denied: check its permissions";

/// A directory's files, or a single file.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    root: String,
    files: Pattern,
    is_file: bool,
    own: OwnDatabase,
}

/// Whether anything has this name, including a dangling link.
pub(crate) async fn exists(path: &Path) -> Result<bool, Error> {
    let path = path.to_owned();
    blocking(move || Ok(path.symlink_metadata().is_ok())).await
}

impl Directory {
    /// Opens a directory, of which `files` selects the files, or a single file.
    pub async fn open(path: &Path, files: Pattern) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(move || {
            let metadata = fs::metadata(&path).map_err(|error| failed("list", &path, error))?;
            if !metadata.is_dir() && !metadata.is_file() {
                return Err(refused("list", &path, &irregular(&metadata)));
            }
            let found = fs::canonicalize(&path).map_err(|error| failed("list", &path, error))?;
            if metadata.is_dir() {
                return Self::at(found, files, false);
            }
            match (found.parent(), found.file_name().and_then(|name| name.to_str())) {
                (Some(parent), Some(name)) if !files.is_glob() => {
                    Self::at(parent.to_owned(), Pattern::exact(name), true)
                }
                _ => Err(refused("list", &path, "it is not a directory")),
            }
        })
        .await
    }

    /// Opens a directory for writing. Creates it, with its parents, if it does not exist.
    pub async fn create(path: &Path) -> Result<Self, Error> {
        let created = path.to_owned();
        blocking(move || {
            upload::create_with_parents(&created)
                .map_err(|error| upload::failed(WRITE, &created, error))
        })
        .await?;
        Self::open(path, Pattern::all()).await
    }

    fn at(path: PathBuf, files: Pattern, is_file: bool) -> Result<Self, Error> {
        let Some(text) = path.to_str() else {
            return Err(refused("list", &path, "its name is not UTF-8"));
        };
        let root = format!("file://{}", text.trim_end_matches('/'));
        Ok(Self { path, root, files, is_file, own: OwnDatabase::default() })
    }

    /// Excludes the files of a database.
    #[must_use]
    pub fn without(mut self, own: OwnDatabase) -> Self {
        self.own = own;
        self
    }

    fn list_files(&self) -> Result<Listing, Error> {
        if !self.is_file {
            return walk::walk(self);
        }
        let name = self.files.prefix();
        let path = self.path.join(name);
        let metadata = fs::metadata(&path).map_err(|error| failed("list", &path, error))?;
        if !metadata.is_file() {
            return Err(refused("list", &path, &irregular(&metadata)));
        }
        if self.own.files().contains(&path, &metadata) {
            let reason = "it is a file of the target database (DATABASE_URL)";
            return Err(refused("list", &path, reason));
        }
        Ok(Listing {
            objects: vec![self.version(name.to_owned(), &metadata)],
            ..Listing::default()
        })
    }

    fn version(&self, key: String, metadata: &Metadata) -> ObjectVersion {
        ObjectVersion {
            root: self.root.clone(),
            key,
            etag: etag(metadata),
            size: metadata.size(),
            last_modified: last_modified(metadata),
        }
    }
}

#[async_trait]
impl Source for Directory {
    fn root(&self) -> &str {
        &self.root
    }

    /// One page.
    fn pages(&self) -> BoxStream<'_, Result<Listing, Error>> {
        let directory = self.clone();
        stream::once(blocking(move || directory.list_files())).boxed()
    }

    async fn find(&self, key: &str) -> Result<Option<ObjectVersion>, Error> {
        let (directory, key) = (self.clone(), key.to_owned());
        blocking(move || {
            let path = directory.path.join(&key);
            match fs::metadata(&path) {
                Ok(metadata) => Ok(metadata.is_file().then(|| directory.version(key, &metadata))),
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
                    _ => Err(failed("list", &path, error)),
                },
            }
        })
        .await
    }

    fn read(&self, object: &ObjectVersion, range: Range<u64>) -> ByteStream {
        let file_read = FileRead {
            path: self.path.join(&object.key),
            root: self.path.clone(),
            etag: object.etag.clone(),
            uri: object.uri(),
        };
        let file_read = Arc::new(file_read);
        let end = range.end.min(object.size);
        if object.size == 0 {
            return stream::once(blocking(move || file_read.check_empty()))
                .filter_map(async |checked| checked.err().map(Err))
                .boxed();
        }
        stream::try_unfold((None, range.start), move |(file, offset)| {
            let file_read = file_read.clone();
            async move {
                if offset >= end {
                    return Ok(None);
                }
                let length = BLOCK.min(end - offset);
                let (file, block) = blocking(move || {
                    let file = file.map_or_else(|| file_read.open(), Ok)?;
                    let block = file_read.block(&file, offset, length)?;
                    Ok((file, block))
                })
                .await?;
                Ok(Some((block, (Some(file), offset + length))))
            }
        })
        .boxed()
    }
}

#[async_trait]
impl ObjectStore for Directory {
    fn root(&self) -> &str {
        &self.root
    }

    fn prefix(&self) -> &str {
        self.files.prefix()
    }

    async fn create(&self, key: &str) -> Result<Upload, Error> {
        check_key(WRITE, &self.root, &self.files, key)?;
        let (directory, name) = (self.clone(), key.to_owned());
        let writer = blocking(move || FileWriter::create(directory, name)).await?;
        let part_bytes = usize::try_from(BLOCK).unwrap_or(usize::MAX);
        Ok(Upload::new(format!("{}/{key}", self.root), part_bytes, Box::new(writer)))
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        check_key(DELETE, &self.root, &self.files, key)?;
        let path = self.path.join(key);
        blocking(move || {
            upload::delete(&path).map_err(|error| upload::failed(DELETE, &path, error))
        })
        .await
    }
}

/// Why a file cannot be an object.
fn irregular(metadata: &Metadata) -> String {
    let kind = metadata.file_type();
    let what = if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    format!("it is not a regular file but {what}")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    task::spawn_blocking(work).await.unwrap_or_else(|stopped| {
        Err(Error::Unavailable {
            action: "read",
            uri: "the file system".into(),
            source: stopped.into(),
        })
    })
}

fn etag(metadata: &Metadata) -> String {
    format!(
        "{:x}-{:x}.{:09}-{:x}",
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ino()
    )
}

fn last_modified(metadata: &Metadata) -> DateTime<Utc> {
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or_default();
    DateTime::from_timestamp(metadata.mtime(), nanoseconds).unwrap_or_default()
}

fn failed(action: &'static str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            uri: format!("file://{}", path.display()),
            reason: "it does not exist".to_owned(),
        },
        io::ErrorKind::NotADirectory => refused(action, path, "it is not a directory"),
        io::ErrorKind::PermissionDenied => refused(action, path, NO_PERMISSION),
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
            refused(action, path, &error.to_string())
        }
        _ if walk::is_loop(&error) => refused(action, path, walk::LOOP),
        _ => Error::Unavailable {
            action,
            uri: format!("file://{}", path.display()),
            source: error.into(),
        },
    }
}

fn refused(action: &'static str, path: &Path, reason: &str) -> Error {
    Error::Refused { action, uri: format!("file://{}", path.display()), reason: reason.to_owned() }
}
