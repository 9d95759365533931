//! The buckets and objects of the endpoint, in memory or in files.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use s3s::{
    S3Result,
    crypto::{Checksum, Md5},
    dto::{ETagCondition, Metadata},
    s3_error,
};

use super::{changes::Changes, multipart::Uploads};

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

/// Objects by key.
pub(super) type Bucket = BTreeMap<String, Object>;

/// All buckets, the multipart uploads, and the planned changes. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Buckets {
    objects: Arc<Mutex<HashMap<String, Bucket>>>,
    pub(super) uploads: Uploads,
    pub(super) changes: Changes,
}

impl Buckets {
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object, and creates the bucket if it is missing.
    pub(super) fn put(&self, bucket: &str, key: &str, object: Object) {
        let mut buckets = self.lock();
        let bucket = buckets.entry(bucket.to_owned()).or_default();
        bucket.insert(key.to_owned(), object);
    }

    /// Puts an object into an existing bucket; under a condition that is `*`, only if its key is free.
    pub(super) fn put_if(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        condition: Option<&ETagCondition>,
    ) -> S3Result<()> {
        let mut buckets = self.lock();
        let bucket = buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        if condition.is_some_and(ETagCondition::is_any) && bucket.contains_key(key) {
            return Err(s3_error!(PreconditionFailed));
        }
        bucket.insert(key.to_owned(), object);
        Ok(())
    }

    /// Removes an object, if there is one.
    pub(super) fn remove(&self, bucket: &str, key: &str) {
        if let Some(bucket) = self.lock().get_mut(bucket) {
            bucket.remove(key);
        }
    }
}
