//! Multipart uploads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use s3s::{
    S3Result,
    crypto::{Checksum, Md5},
    dto::{CompletedPart, Metadata},
    s3_error,
};

use super::object::{Object, hex};

/// The smallest part that is not the last one, as in S3.
const MIN_PART_BYTES: usize = 5 << 20;

/// The uploads that are not ended. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Uploads(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    begun: u64,
    open: HashMap<String, Upload>,
}

struct Upload {
    metadata: Option<Metadata>,
    parts: BTreeMap<i32, Bytes>,
}

impl Uploads {
    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Begins one, and returns its id.
    pub(super) fn begin(&self, metadata: Option<Metadata>) -> String {
        let mut state = self.lock();
        state.begun += 1;
        let id = format!("upload-{}", state.begun);
        state.open.insert(id.clone(), Upload { metadata, parts: BTreeMap::new() });
        id
    }

    /// Stores or replaces a part, and returns its `ETag`.
    pub(super) fn add(&self, id: &str, number: i32, content: Bytes) -> S3Result<String> {
        let mut state = self.lock();
        let upload = state.open.get_mut(id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let etag = hex(&Md5::checksum(&content));
        upload.parts.insert(number, content);
        Ok(etag)
    }

    /// The object of these parts.
    pub(super) fn object(&self, id: &str, parts: &[CompletedPart]) -> S3Result<Object> {
        let state = self.lock();
        let upload = state.open.get(id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let mut content = Vec::new();
        let mut hashes = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let stored = part.part_number.and_then(|number| upload.parts.get(&number));
            let stored = stored.ok_or_else(|| s3_error!(InvalidPart))?;
            let hash = Md5::checksum(stored);
            if part.e_tag.as_ref().is_some_and(|etag| etag.value() != hex(&hash)) {
                return Err(s3_error!(InvalidPart));
            }
            if stored.len() < MIN_PART_BYTES && index + 1 < parts.len() {
                return Err(s3_error!(EntityTooSmall));
            }
            content.extend_from_slice(stored);
            hashes.extend_from_slice(&hash);
        }
        let etag = format!("{}-{}", hex(&Md5::checksum(&hashes)), parts.len());
        let metadata = upload.metadata.clone();
        Ok(Object { etag, metadata, ..Object::of_bytes(content.into()) })
    }

    /// Ends one: it was completed or aborted.
    pub(super) fn end(&self, id: &str) -> S3Result<()> {
        self.lock().open.remove(id).map(drop).ok_or_else(|| s3_error!(NoSuchUpload))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
