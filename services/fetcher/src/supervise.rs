//! Ends objects that are complete, and has read again what the queue has lost.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jetline_queue::Queue;
use jetline_records::{EpochId, ObjectId};
use jetline_runtime::metrics::{OBJECTS, OBJECTS_LOADING, RETRIES};
use jetline_store::{Error, Ledger, ledger::Loading};
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::FetcherSettings;

const COUNT_EVERY: Duration = Duration::from_secs(2);

/// How often, in the time for which objects must be quiet to have lost chunks, they are looked at.
const LOOKS_IN_PATIENCE: u32 = 10;

/// How many objects one statement has read again.
const BATCH: usize = 500;

/// Watches the objects that are read to the end and not done.
pub(crate) struct Supervisor {
    ledger: Ledger,
    queue: Arc<dyn Queue>,
    roots: Vec<String>,
    patience: Duration,
    max_rejects: Option<u64>,
    randomness: StdRng,
    quiet: HashMap<ObjectId, Quiet>,
    /// Objects that cannot be completed, of which the queue holds nothing: they end when everything below them has.
    waiting: HashSet<ObjectId>,
    counted: Option<Instant>,
    reconciled: Option<Instant>,
}

/// Since when nothing of an object was committed.
struct Quiet {
    committed_bytes: u64,
    since: Instant,
}

impl Supervisor {
    /// A supervisor; what it shows of the objects of `roots` is what their fetcher has left to do.
    pub(crate) fn new(
        ledger: Ledger,
        queue: Arc<dyn Queue>,
        roots: Vec<String>,
        settings: &FetcherSettings,
        randomness: StdRng,
    ) -> Self {
        count_from_zero();
        Self {
            ledger,
            queue,
            roots,
            patience: settings.reconcile_after,
            max_rejects: settings.max_rejects,
            randomness,
            quiet: HashMap::new(),
            waiting: HashSet::new(),
            counted: None,
            reconciled: None,
        }
    }

    /// Whether an object ends as soon as everything below it has, and not before.
    pub(crate) fn waits_for_others(&self, object: ObjectId) -> bool {
        self.waiting.contains(&object)
    }

    /// Looks once.
    pub(crate) async fn look(&mut self) -> Result<(), Error> {
        self.settle().await?;
        self.reconcile().await?;
        self.count().await
    }

    /// Shows how many objects have not ended; now and then, as nothing but a graph depends on it.
    async fn count(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        if self.counted.is_none_or(|at| now - at >= COUNT_EVERY) {
            let open = self.ledger.count_open(&self.roots).await?;
            metrics::gauge!(OBJECTS_LOADING).set(as_f64(open));
            self.counted = Some(now);
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let next = EpochId::random(&mut self.randomness);
        for ended in self.ledger.settle(next, self.max_rejects).await? {
            if let Some(error) = &ended.error {
                metrics::counter!(OBJECTS, "state" => "failed").increment(1);
                tracing::error!(object = %ended.object, error, "the object failed");
            } else {
                metrics::counter!(OBJECTS, "state" => "done").increment(1);
                tracing::info!(object = %ended.object, "the object is done");
            }
        }
        Ok(())
    }

    /// An object of which the queue holds nothing, and nothing was committed for a while, has lost chunks: they are read
    /// again, or, where that is not possible, it ends.
    async fn reconcile(&mut self) -> Result<(), Error> {
        let (now, every) = (Instant::now(), self.patience / LOOKS_IN_PATIENCE);
        if self.reconciled.is_some_and(|at| now - at < every) {
            return Ok(());
        }
        let loading = self.ledger.loading().await?;
        self.reconciled = Some(now);
        let objects: HashSet<ObjectId> = loading.iter().map(|one| one.object).collect();
        self.quiet.retain(|object, _| objects.contains(object));
        self.waiting.retain(|object| objects.contains(object));
        let quiet: Vec<Loading> = loading
            .into_iter()
            .filter(|one| self.was_quiet(one))
            .collect();
        if quiet.is_empty() {
            return Ok(());
        }
        let objects: Vec<ObjectId> = quiet.iter().map(|one| one.object).collect();
        let Some(pending) = self.pending(&objects).await else {
            return Ok(());
        };
        let lost = quiet
            .iter()
            .zip(pending)
            .filter(|(_, pending)| *pending == 0);
        let (complete, lost): (Vec<_>, Vec<_>) =
            lost.map(|(one, _)| one).partition(|one| one.complete);
        let (gone, lost): (Vec<_>, Vec<_>) = lost.into_iter().partition(|one| one.unreadable);
        for one in gone {
            self.fail(one.object).await?;
        }
        let objects = |loading: Vec<&Loading>| loading.iter().map(|one| one.object).collect();
        let (lost, complete): (Vec<ObjectId>, Vec<ObjectId>) = (objects(lost), objects(complete));
        for batch in lost.chunks(BATCH) {
            self.reread(batch).await?;
        }
        self.wait_for_others(complete).await
    }

    /// Complete objects end when those before them have, or the lines are committed that outdid lines of theirs. Where
    /// nobody reads the objects of those, claims of them were left behind: a new epoch has none.
    async fn wait_for_others(&mut self, complete: Vec<ObjectId>) -> Result<(), Error> {
        let Some(first) = complete.first() else {
            return Ok(());
        };
        tracing::info!(%first, objects = complete.len(), "complete objects wait for others");
        let others = self.ledger.unread_before(&complete, &self.roots).await?;
        let Some(pending) = self.pending(&others).await else {
            return Ok(());
        };
        let mut pending = others.iter().zip(pending);
        let left_behind = pending.find(|(_, pending)| *pending == 0);
        if let Some((other, _)) = left_behind {
            tracing::warn!(
                %other,
                "objects wait for lines of another one, which nobody reads: they are judged once more without it"
            );
            let next = EpochId::random(&mut self.randomness);
            self.ledger.forget_claims(next).await?;
        }
        for object in complete {
            self.quiet.remove(&object);
        }
        Ok(())
    }

    /// How many chunks of each object the queue holds, if it says so.
    async fn pending(&self, objects: &[ObjectId]) -> Option<Vec<u64>> {
        let pending = self.queue.pending_of_each(objects).await;
        if let Err(error) = &pending {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "the queue does not say what it holds");
        }
        pending.ok()
    }

    fn was_quiet(&mut self, loading: &Loading) -> bool {
        let now = Instant::now();
        let quiet = self.quiet.entry(loading.object).or_insert(Quiet {
            committed_bytes: loading.committed_bytes,
            since: now,
        });
        if quiet.committed_bytes != loading.committed_bytes {
            *quiet = Quiet {
                committed_bytes: loading.committed_bytes,
                since: now,
            };
        }
        now - quiet.since >= self.patience
    }

    async fn fail(&mut self, object: ObjectId) -> Result<(), Error> {
        let next = EpochId::random(&mut self.randomness);
        if self.ledger.fail(object, next).await? {
            metrics::counter!(OBJECTS, "state" => "failed").increment(1);
            tracing::error!(%object, "the object failed: what is missing of it cannot be read any more");
        } else {
            self.waiting.insert(object);
        }
        self.quiet.remove(&object);
        Ok(())
    }

    async fn reread(&mut self, objects: &[ObjectId]) -> Result<(), Error> {
        for object in self.ledger.reread(objects).await? {
            tracing::warn!(%object, "chunks were lost on their way, what is missing is read again");
        }
        for object in objects {
            self.quiet.remove(object);
        }
        Ok(())
    }
}

/// A counter that is not there before its first event hides that event from whoever looks for a rise.
fn count_from_zero() {
    for state in ["done", "failed"] {
        metrics::counter!(OBJECTS, "state" => state).increment(0);
    }
    for part in ["source", "queue"] {
        metrics::counter!(RETRIES, "part" => part).increment(0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
