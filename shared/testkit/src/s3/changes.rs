//! Objects that are overwritten while they are read.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::buckets::{Buckets, Object};

/// New content of an object.
struct Planned {
    /// How many reads until it is due.
    reads: usize,
    bucket: String,
    key: String,
    content: Bytes,
}

/// The planned changes. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Mutex<Vec<Planned>>>);

impl Changes {
    pub(super) fn plan(&self, nth: usize, bucket: &str, key: &str, content: Bytes) {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.lock().push(Planned { reads: nth.max(1), bucket, key, content });
    }

    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Planned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    /// To be called before each read of an object: makes the changes that are due.
    pub(super) fn change_before_get(&self, bucket: &str, key: &str) {
        let mut all = self.changes.lock();
        for mut planned in mem::take(&mut *all) {
            if planned.bucket == bucket && planned.key == key {
                planned.reads -= 1;
            }
            if planned.reads > 0 {
                all.push(planned);
            } else {
                self.put(&planned.bucket, &planned.key, Object::of_bytes(planned.content));
            }
        }
    }
}
