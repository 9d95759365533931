//! An object of the endpoint, in memory or in a file.

use std::{
    fmt::Write,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use bytes::Bytes;
use s3s::{
    crypto::{Checksum, Md5},
    dto::Metadata,
};

/// One object version.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) content: Content,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) last_modified: SystemTime,
    pub(super) metadata: Option<Metadata>,
}

#[derive(Clone)]
pub(super) enum Content {
    Memory(Bytes),
    File(PathBuf),
}

impl Object {
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        let md5 = Md5::checksum(&bytes);
        Self {
            size: bytes.len() as u64,
            etag: hex(&md5),
            content: Content::Memory(bytes),
            last_modified: SystemTime::now(),
            metadata: None,
        }
    }

    /// The `ETag` is derived from metadata, without reading the file: gigabytes are served at once.
    pub(super) fn of_file(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self {
            content: Content::File(path.to_owned()),
            size: metadata.len(),
            etag: format!(
                "{:016x}{:016x}",
                metadata.ino(),
                metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
            ),
            last_modified: metadata.modified()?,
            metadata: None,
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
