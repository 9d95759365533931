//! The buckets and objects of the endpoint, in memory or in files.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use s3s::{S3Result, dto::ETagCondition, s3_error};

use super::{changes::Changes, multipart::Uploads, object::Object};

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
    /// To be called before each read of an object: makes the changes that are due.
    pub(super) fn change_before_get(&self, bucket: &str, key: &str) {
        self.changes.make_due(bucket, key, |change| {
            self.put(&change.bucket, &change.key, Object::of_bytes(change.content));
        });
    }
}
