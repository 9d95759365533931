//! Writes objects, registers them with their posts, and wakes the fetchers.

use std::{num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use chrono::Utc;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use jetline_datasets::Dataset;
use jetline_source::{IntakeStore, ObjectStore, ObjectVersion};
use jetline_store::{
    ObjectLedger,
    objects::{NewObject, NewPost, PostsOutcome},
};

use super::{
    body::LIMITS,
    parts::ObjectsWakeup,
    write_error::{WriteError, of_ledger, of_store},
};

/// How many objects a second are registered for a dataset in the long run: the 2^31 numbers of objects last for years.
const OBJECTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// How many objects may be registered beyond that at a time.
const BURST_OBJECTS: NonZeroU32 = NonZeroU32::new(36_000).unwrap();

/// Writes and registers objects.
pub(super) struct ObjectWriter {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) ledger: ObjectLedger,
    wakeup: ObjectsWakeup,
    limit: DefaultKeyedRateLimiter<String>,
}

impl ObjectWriter {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        ledger: ObjectLedger,
        wakeup: ObjectsWakeup,
    ) -> Self {
        let quota = Quota::per_second(OBJECTS_PER_SECOND).allow_burst(BURST_OBJECTS);
        Self { store, ledger, wakeup, limit: RateLimiter::keyed(quota) }
    }

    /// A new key for an object of a dataset.
    pub(super) fn key(&self, dataset: &Dataset) -> String {
        let (now, random) = (Utc::now(), rand::random::<u64>());
        let (day, time) = (now.format("%Y-%m-%d"), now.format("%H%M%S"));
        let end = if dataset.has_redaction() { IntakeStore::REDACTED } else { ".jsonl" };
        format!("{}{}/{day}/{time}-{random:016x}{end}", self.store.prefix(), dataset.name)
    }

    /// Writes lines as an object, and registers it. If a post is known, the object is deleted.
    pub(super) async fn write(
        &self,
        dataset: &Dataset,
        lines: Vec<u8>,
        posts: &[NewPost],
    ) -> Result<PostsOutcome, WriteError> {
        self.wait_for_number(&dataset.name).await;
        let written = async {
            let mut upload = self.store.create(&self.key(dataset)).await?;
            upload.write(Bytes::from(lines)).await?;
            upload.finish().await
        };
        let version = written.await.map_err(|error| of_store(&error))?;
        self.register(dataset, version, posts).await
    }

    /// Registers an object that is written. If a post is known, the object is deleted.
    pub(super) async fn register(
        &self,
        dataset: &Dataset,
        version: ObjectVersion,
        posts: &[NewPost],
    ) -> Result<PostsOutcome, WriteError> {
        let object = NewObject {
            incarnation: format!("{:016x}", rand::random::<u64>()),
            dataset: dataset.name.clone(),
            is_posted: true,
            version,
            chunk_bytes: LIMITS.chunk_bytes as u64,
            chunk_lines: NonZeroU32::new(LIMITS.chunk_lines).unwrap_or(NonZeroU32::MIN),
            max_line_bytes: LIMITS.max_line_bytes as u64,
        };
        let registered = self.ledger.register_posts(&object, dataset.declaration, posts).await;
        let outcome = registered.map_err(|error| of_ledger(&error))?;
        match &outcome {
            PostsOutcome::Registered(_) => self.wakeup.notify().await,
            PostsOutcome::Known(_) | PostsOutcome::Outdated => {
                if let Err(error) = self.store.delete(&object.version.key).await {
                    tracing::warn!(
                        error = jetline_runtime::causes(&error),
                        object.key = object.version.key,
                        "delete object failed"
                    );
                }
            }
        }
        Ok(outcome)
    }

    /// Waits until a number for an object may be taken.
    pub(super) async fn wait_for_number(&self, dataset: &str) {
        while let Err(until) = self.limit.check_key(&dataset.to_owned()) {
            tokio::time::sleep(until.wait_time_from(self.limit.clock().now())).await;
        }
    }
}
