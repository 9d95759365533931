//! Objects that are overwritten while they are read.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// New content of an object.
pub(super) struct Change {
    /// How many reads until it is due.
    reads: usize,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) content: Bytes,
}

/// The planned changes. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Mutex<Vec<Change>>>);

impl Changes {
    pub(super) fn plan(&self, nth: usize, bucket: &str, key: &str, content: Bytes) {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.lock().push(Change { reads: nth.max(1), bucket, key, content });
    }

    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// Counts a read of an object, and makes the changes that are due. Further reads wait for them.
    pub(super) fn make_due(&self, bucket: &str, key: &str, make: impl Fn(Change)) {
        let mut all = self.lock();
        for mut change in mem::take(&mut *all) {
            if change.bucket == bucket && change.key == key {
                change.reads -= 1;
            }
            if change.reads > 0 { all.push(change) } else { make(change) }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
