//! One version of a file, read block by block.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use bytes::Bytes;

use super::{etag, failed, refused};
use crate::Error;

const MORE_BYTES: &str = "it has more bytes than its size says: copy it to a file of a known size";
const FEWER_BYTES: &str =
    "it has fewer bytes than its size says: copy it to a file of a known size, or look at the disk";

/// The device cannot read it.
const EIO: i32 = 5;

/// One version of a file while it is read.
pub(super) struct Reading {
    pub(super) path: PathBuf,
    /// The directory that was given.
    pub(super) root: PathBuf,
    pub(super) etag: String,
    pub(super) uri: String,
}

impl Reading {
    pub(super) fn open(&self) -> Result<File, Error> {
        // Asked before as well: to open something else than a file may take for ever.
        self.check()?;
        let file = File::open(&self.path).map_err(|error| self.failed(error))?;
        self.check()?;
        Ok(file)
    }

    pub(super) fn block(&self, file: &File, offset: u64, length: u64) -> Result<Bytes, Error> {
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

    /// What tells no size, as in /proc, cannot be told from an empty file but by reading.
    pub(super) fn check_empty(&self) -> Result<(), Error> {
        let read = self.open()?.read_at(&mut [0], 0);
        self.check()?;
        match read {
            Ok(0) => Ok(()),
            Ok(_) => Err(refused("read", &self.path, MORE_BYTES)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Whether the path still leads to this version.
    fn check(&self) -> Result<(), Error> {
        let now = fs::metadata(&self.path).map_err(|error| self.failed(error))?;
        if now.is_file() && etag(&now) == self.etag {
            Ok(())
        } else {
            let uri = self.uri.clone();
            Err(Error::Changed { uri })
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            // Where the whole directory is gone, as a disk that is not mounted, it says nothing about the file.
            io::ErrorKind::NotFound if fs::metadata(&self.root).is_err() => {
                refused("read", &self.root, "the directory does not exist")
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Gone {
                uri: self.uri.clone(),
            },
            io::ErrorKind::UnexpectedEof => refused("read", &self.path, FEWER_BYTES),
            _ if error.raw_os_error() == Some(EIO) => {
                let reason = format!("{error}: look at the disk");
                refused("read", &self.path, &reason)
            }
            _ => failed("read", &self.path, error),
        }
    }
}
