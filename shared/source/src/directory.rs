//! Files of a local directory.
//!
//! A file's version is its size, its modification time and its inode. It is looked at again behind every block, so that
//! no byte of a file that was written to or replaced in between is taken for the version that was listed. Links to
//! files are followed, links to directories are not.

use std::{
    fs::{self, File, Metadata},
    io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use tokio::task;

use crate::{ByteStream, Error, ObjectVersion, Pattern, Source};

/// Bytes that are read at once.
const BLOCK: u64 = 1 << 20;

/// A directory's files, or a single file.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    root: String,
    files: Pattern,
}

impl Directory {
    /// Opens a directory, of which the files that match are read, or a single file.
    pub async fn open(path: &Path, files: Pattern) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(move || {
            let found = fs::canonicalize(&path).map(|found| (found.is_dir(), found));
            let (is_directory, found) = found.map_err(|error| failed("list", &path, error))?;
            if is_directory {
                return Self::at(found, files);
            }
            match (
                found.parent(),
                found.file_name().and_then(|name| name.to_str()),
            ) {
                (Some(parent), Some(name)) if !files.is_glob() => {
                    Self::at(parent.to_owned(), Pattern::exact(name))
                }
                _ => Err(refused("list", &path, "it is not a directory")),
            }
        })
        .await
    }

    fn at(path: PathBuf, files: Pattern) -> Result<Self, Error> {
        let Some(text) = path.to_str() else {
            return Err(refused("list", &path, "its name is not UTF-8"));
        };
        let root = format!("file://{}", text.trim_end_matches('/'));
        Ok(Self { path, root, files })
    }

    fn list_files(&self) -> Result<Vec<ObjectVersion>, Error> {
        // A single file is not searched for.
        let exact = self.files.prefix();
        if !self.files.is_glob() && !exact.is_empty() {
            let path = self.path.join(exact);
            let metadata = fs::metadata(&path).map_err(|error| failed("list", &path, error))?;
            return Ok(vec![self.version(exact.to_owned(), &metadata)]);
        }
        let mut objects = Vec::new();
        self.walk(&self.path, "", 1, &mut objects)?;
        objects.sort_by(|a, b| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        Ok(objects)
    }

    /// What is removed while it is walked is left out, unless it is the location itself.
    fn walk(
        &self,
        path: &Path,
        prefix: &str,
        depth: usize,
        objects: &mut Vec<ObjectVersion>,
    ) -> Result<(), Error> {
        let entries = match fs::read_dir(path) {
            Err(error) if depth > 1 && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| failed("list", path, error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", path, error))?;
            let path = entry.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(refused("list", &path, "its name is not UTF-8"));
            };
            let key = format!("{prefix}{name}");
            let kind = entry.file_type();
            if kind.map_err(|error| failed("list", &path, error))?.is_dir() {
                let deeper = self.files.max_segments().is_none_or(|most| depth < most);
                if deeper && !self.files.hides(&key) {
                    self.walk(&path, &format!("{key}/"), depth + 1, objects)?;
                }
            } else if self.files.matches(&key)
                && let Some(metadata) = file_metadata(&path)?
            {
                objects.push(self.version(key, &metadata));
            }
        }
        Ok(())
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

    async fn list(&self) -> Result<Vec<ObjectVersion>, Error> {
        let directory = self.clone();
        blocking(move || directory.list_files()).await
    }

    fn read(&self, object: &ObjectVersion, range: Range<u64>) -> ByteStream {
        let reading = Reading {
            path: self.path.join(&object.key),
            etag: object.etag.clone(),
            uri: object.uri(),
        };
        let reading = Arc::new(reading);
        let end = range.end.min(object.size);
        stream::try_unfold((None, range.start), move |(file, offset)| {
            let reading = reading.clone();
            async move {
                if offset >= end {
                    return Ok(None);
                }
                let length = BLOCK.min(end - offset);
                let (file, block) = blocking(move || {
                    let file = file.map_or_else(|| reading.open(), Ok)?;
                    let block = reading.block(&file, offset, length)?;
                    Ok((file, block))
                })
                .await?;
                Ok(Some((block, (Some(file), offset + length))))
            }
        })
        .boxed()
    }
}

/// One version of a file while it is read.
struct Reading {
    path: PathBuf,
    etag: String,
    uri: String,
}

impl Reading {
    fn open(&self) -> Result<File, Error> {
        let file = File::open(&self.path).map_err(|error| self.failed(error))?;
        self.check()?;
        Ok(file)
    }

    fn block(&self, file: &File, offset: u64, length: u64) -> Result<Bytes, Error> {
        let length =
            usize::try_from(length).map_err(|error| self.failed(io::Error::other(error)))?;
        let mut block = vec![0; length];
        let read = file.read_exact_at(&mut block, offset);
        // Asked behind the read: whatever was read then is of the version that is there now.
        self.check()?;
        match read {
            Ok(()) => Ok(block.into()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether the path still leads to this version.
    fn check(&self) -> Result<(), Error> {
        let now = fs::metadata(&self.path).map_err(|error| self.failed(error))?;
        if etag(&now) == self.etag {
            Ok(())
        } else {
            let uri = self.uri.clone();
            Err(Error::Changed { uri })
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::Gone {
                uri: self.uri.clone(),
            },
            _ => failed("read", &self.path, error),
        }
    }
}

/// `None` for what is no file (any more), such as a link to nothing.
fn file_metadata(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata).filter(Metadata::is_file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("list", path, error)),
    }
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
        io::ErrorKind::NotFound => Error::Absent {
            uri: format!("file://{}", path.display()),
            reason: "it does not exist".to_owned(),
        },
        io::ErrorKind::NotADirectory => refused(action, path, "it is not a directory"),
        io::ErrorKind::PermissionDenied => refused(
            action,
            path,
            "this user may not read it: look at its permissions",
        ),
        _ => Error::Unavailable {
            action,
            uri: format!("file://{}", path.display()),
            source: error.into(),
        },
    }
}

fn refused(action: &'static str, path: &Path, reason: &str) -> Error {
    Error::Refused {
        action,
        uri: format!("file://{}", path.display()),
        reason: reason.to_owned(),
    }
}
