//! Settles complete objects, and marks those with lost chunks to be read again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jetline_core::{EpochId, ObjectId};
use jetline_queue::Queue;
use jetline_runtime::metrics::{OBJECTS, OBJECTS_LOADING, UNKNOWN_FIELDS, as_f64};
use jetline_store::{
    Error, ObjectLedger,
    objects::{LoadingObject, RejectLimit},
};
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::FetcherSettings;

const GAUGE_INTERVAL: Duration = Duration::from_secs(2);

/// How many times in `RECONCILE_AFTER` the loading objects are polled.
const POLLS_PER_RECONCILE_AFTER: u32 = 10;

/// How many objects one statement reopens at most.
const REOPEN_BATCH: usize = 500;

/// Watches the loading objects.
pub(crate) struct Reconciler {
    ledger: ObjectLedger,
    queue: Arc<dyn Queue>,
    roots: Vec<String>,
    reconcile_after: Duration,
    max_rejects: Option<RejectLimit>,
    randomness: StdRng,
    progress: HashMap<ObjectId, Progress>,
    /// Objects that cannot be completed and of which the queue holds nothing: they fail when every lower object is
    /// settled.
    unreadable: HashSet<ObjectId>,
    counted: Option<Instant>,
    reconciled: Option<Instant>,
}

/// The committed bytes of an object, and since when they have not changed.
#[derive(Clone, Copy)]
struct Progress {
    committed_bytes: u64,
    since: Instant,
}

impl Reconciler {
    /// A reconciler; its gauge counts the open objects of `roots`.
    pub(crate) fn new(
        ledger: ObjectLedger,
        queue: Arc<dyn Queue>,
        roots: Vec<String>,
        settings: &FetcherSettings,
        randomness: StdRng,
    ) -> Self {
        Self {
            ledger,
            queue,
            roots,
            reconcile_after: settings.reconcile_after,
            max_rejects: settings.max_rejects,
            randomness,
            progress: HashMap::new(),
            unreadable: HashSet::new(),
            counted: None,
            reconciled: None,
        }
    }

    /// Whether what is missing of an object can no longer be read: it fails when every lower object is settled.
    pub(crate) fn is_unreadable(&self, object: ObjectId) -> bool {
        self.unreadable.contains(&object)
    }

    /// Settles, reconciles and counts once.
    pub(crate) async fn poll(&mut self) -> Result<(), Error> {
        self.settle().await?;
        self.reconcile().await?;
        self.count().await
    }

    /// Sets the gauges of objects that are not yet done or failed, and of unknown fields; at longer intervals, since only
    /// graphs and alerts depend on them.
    async fn count(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.counted.is_none_or(|at| now - at >= GAUGE_INTERVAL) {
            let open = self.ledger.count_open(&self.roots).await?;
            metrics::gauge!(OBJECTS_LOADING).set(as_f64(open));
            for (dataset, paths) in self.ledger.count_unknown_fields().await? {
                metrics::gauge!(UNKNOWN_FIELDS, "dataset" => dataset).set(as_f64(paths));
            }
            self.counted = Some(now);
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let next = EpochId::random(&mut self.randomness);
        for settled in self.ledger.settle(next, self.max_rejects).await? {
            if let Some(error) = &settled.error {
                metrics::counter!(OBJECTS, "state" => "failed").increment(1);
                tracing::error!(object = settled.object.get(), error, "object failed");
            } else {
                metrics::counter!(OBJECTS, "state" => "done").increment(1);
                tracing::info!(object = settled.object.get(), "object done");
            }
        }
        Ok(())
    }

    /// An object of which the queue holds nothing, and nothing was committed for `RECONCILE_AFTER`, has lost chunks: they
    /// are read again, or, if that is not possible, the object fails.
    async fn reconcile(&mut self) -> Result<(), Error> {
        let (now, every) = (Instant::now(), self.reconcile_after / POLLS_PER_RECONCILE_AFTER);
        if self.reconciled.is_some_and(|at| now - at < every) {
            return Ok(());
        }
        let loading = self.ledger.loading().await?;
        self.reconciled = Some(now);
        let objects: HashSet<ObjectId> = loading.iter().map(|one| one.object).collect();
        self.progress.retain(|object, _| objects.contains(object));
        self.unreadable.retain(|object| objects.contains(object));
        let stalled: Vec<LoadingObject> =
            loading.into_iter().filter(|one| self.is_stalled(one)).collect();
        if stalled.is_empty() {
            return Ok(());
        }
        let objects: Vec<ObjectId> = stalled.iter().map(|one| one.object).collect();
        let Some(pending) = self.pending(&objects).await else {
            return Ok(());
        };
        let lost = stalled.iter().zip(pending).filter(|(_, pending)| *pending == 0);
        let (complete, lost): (Vec<_>, Vec<_>) =
            lost.map(|(one, _)| one).partition(|one| one.complete);
        let (unreadable, lost): (Vec<_>, Vec<_>) = lost.into_iter().partition(|one| one.unreadable);
        for one in unreadable {
            self.fail(one.object).await?;
        }
        for batch in lost.chunks(REOPEN_BATCH) {
            self.reread(batch).await?;
        }
        self.end_epoch_if_claims_lost(complete.iter().map(|one| one.object).collect()).await
    }

    /// A complete object is settled when every lower object is, or when the lines that superseded its own are committed. If
    /// the queue has no chunks of the objects of those lines, and nobody reads them, the claims are lost: the epoch ends.
    async fn end_epoch_if_claims_lost(&mut self, complete: Vec<ObjectId>) -> Result<(), Error> {
        let Some(first) = complete.first() else {
            return Ok(());
        };
        tracing::info!(
            first = first.get(),
            objects = complete.len(),
            "complete objects wait for other objects"
        );
        let others = self.ledger.unread_blockers(&complete, &self.roots).await?;
        let Some(pending) = self.pending(&others).await else {
            return Ok(());
        };
        let mut pending = others.iter().zip(pending);
        if let Some((other, _)) = pending.find(|(_, pending)| *pending == 0) {
            tracing::warn!(
                other = other.get(),
                "objects wait for claims whose chunks are not in the queue, ending the epoch"
            );
            let next = EpochId::random(&mut self.randomness);
            self.ledger.end_epoch(next).await?;
        }
        for object in complete {
            self.progress.remove(&object);
        }
        Ok(())
    }

    /// How many chunks of each object the queue holds; `None` if the query fails.
    async fn pending(&self, objects: &[ObjectId]) -> Option<Vec<u64>> {
        let pending = self.queue.pending(objects).await;
        if let Err(error) = &pending {
            let error = jetline_runtime::causes(error);
            tracing::warn!(error, "count pending chunks failed");
        }
        pending.ok()
    }

    /// Records the progress of an object, and returns whether it had none for so long that chunks may be lost.
    fn is_stalled(&mut self, loading: &LoadingObject) -> bool {
        let committed_bytes = loading.committed_bytes;
        let now = Progress { committed_bytes, since: Instant::now() };
        let last = self.progress.entry(loading.object).or_insert(now);
        if last.committed_bytes != committed_bytes {
            *last = now;
        }
        // A chunk to be committed again in a new epoch is usually gone from the queue: do not wait the full time.
        let reconcile_after = if loading.forgotten && !loading.complete {
            self.reconcile_after / POLLS_PER_RECONCILE_AFTER
        } else {
            self.reconcile_after
        };
        now.since - last.since >= reconcile_after
    }

    async fn fail(&mut self, object: ObjectId) -> Result<(), Error> {
        let next = EpochId::random(&mut self.randomness);
        if self.ledger.fail(object, next).await? {
            metrics::counter!(OBJECTS, "state" => "failed").increment(1);
            tracing::error!(
                object = object.get(),
                "object failed: what is missing of it can no longer be read"
            );
        } else {
            self.unreadable.insert(object);
        }
        self.progress.remove(&object);
        Ok(())
    }

    async fn reread(&mut self, loading: &[&LoadingObject]) -> Result<(), Error> {
        let objects: Vec<ObjectId> = loading.iter().map(|one| one.object).collect();
        for object in self.ledger.reread(&objects).await? {
            let is_forgotten = loading.iter().any(|one| one.object == object && one.forgotten);
            let object = object.get();
            if is_forgotten {
                tracing::info!(
                    object,
                    "chunks are not committed in this epoch, reading them again"
                );
            } else {
                tracing::warn!(object, "chunks lost, reading them again");
            }
        }
        for object in &objects {
            self.progress.remove(object);
        }
        Ok(())
    }
}
