//! Reads one version of a file block by block.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use bytes::Bytes;

use super::{etag, failed, refused};
use crate::Error;

const MORE_BYTES: &str = "it has more bytes than its size: copy it to a regular file";
const FEWER_BYTES: &str =
    "it has fewer bytes than its size: copy it to a regular file, or check the disk";

/// The error number of a failed read of the device.
const EIO: i32 = 5;

/// A read of one version of a file.
pub(super) struct FileRead {
    pub(super) path: PathBuf,
    /// The configured directory.
    pub(super) root: PathBuf,
    pub(super) etag: String,
    pub(super) uri: String,
}

impl FileRead {
    pub(super) fn open(&self) -> Result<File, Error> {
        // Checked before opening too: opening a pipe may block forever.
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
        // Checked after the read: the bytes read are of the version that still exists now.
        self.check()?;
        match read {
            Ok(()) => Ok(block.into()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Files that report no size, as in /proc, can only be told from empty files by reading.
    pub(super) fn check_empty(&self) -> Result<(), Error> {
        let read = self.open()?.read_at(&mut [0], 0);
        self.check()?;
        match read {
            Ok(0) => Ok(()),
            Ok(_) => Err(refused("read", &self.path, MORE_BYTES)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Checks that the path still refers to this version.
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
            // If the whole directory is missing, as with a disk that is not mounted, the file is not known to be deleted.
            io::ErrorKind::NotFound if fs::metadata(&self.root).is_err() => {
                refused("read", &self.root, "the directory does not exist")
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Error::Deleted { uri: self.uri.clone() }
            }
            io::ErrorKind::UnexpectedEof => refused("read", &self.path, FEWER_BYTES),
            _ if error.raw_os_error() == Some(EIO) => {
                let reason = format!("{error}: check the disk");
                refused("read", &self.path, &reason)
            }
            _ => failed("read", &self.path, error),
        }
    }
}
