//! Leases objects and reads them in order: a large one alone, small ones as a batch.
//!
//! The cost of a small object is its round trips, so a batch has one statement for each step, and the next objects are
//! read while chunks of the last are not acknowledged yet.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jetline_core::ObjectId;
use jetline_datasets::DeclaredFormat;
use jetline_queue::Queue;
use jetline_runtime::Backoff;
use jetline_store::{
    ObjectLedger,
    objects::{LeasedObject, ReadOutcome, Refusal},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    FetcherSettings,
    declared::DeclaredFormats,
    error::Error,
    prefetch::{self, Leased, Prefetched},
    publish::Publisher,
    reading::{ReadAttempt, ReadProgress, ReadResult},
    sources::Sources,
    watermark::WatermarkCache,
};

/// How often an idle reader polls for work: the expiry of another fetcher's lease is no event.
const IDLE_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How often the progress of reading a large object is recorded.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// One of a fetcher's readers.
pub(crate) struct Reader {
    pub(crate) ledger: ObjectLedger,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) declared: Arc<DeclaredFormats>,
    pub(crate) settings: FetcherSettings,
    /// Unique; the owner of its leases.
    pub(crate) owner: String,
    pub(crate) seed: u64,
    /// Notified when objects were registered.
    pub(crate) objects_registered: Arc<Notify>,
}

/// How the objects of a batch were read.
#[derive(Default)]
struct BatchOutcome {
    read: Vec<(ObjectId, ReadOutcome)>,
    refused: Vec<Refusal>,
}

impl Reader {
    /// Reads until it is stopped. An error is permanent; those of the ledger are retried.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), jetline_queue::Error> {
        let roots = self.sources.roots();
        let mut backoff = Backoff::for_calls(self.seed);
        while !stop.is_cancelled() {
            let wait = match self.lease(&roots).await {
                Ok(leased) if leased.is_empty() => IDLE_POLL_INTERVAL,
                Ok(leased) => match self.read_leased(leased, &stop).await {
                    Ok(()) => {
                        backoff.reset();
                        continue;
                    }
                    Err(Error::Queue(error)) => return Err(error),
                    Err(Error::Ledger(error)) => log_and_next_delay(&mut backoff, &error),
                },
                Err(error) => log_and_next_delay(&mut backoff, &error),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.objects_registered.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn lease(&self, roots: &[String]) -> Result<Vec<Leased>, jetline_store::Error> {
        let batch = prefetch::lease_limits(self.settings.fetch_batch.get());
        let objects = self.ledger.lease(&self.owner, roots, self.settings.lease, batch).await?;
        objects.into_iter().map(|object| self.leased(object)).collect()
    }

    fn leased(&self, object: LeasedObject) -> Result<Leased, jetline_store::Error> {
        let Some(source) = self.sources.with_root(&object.version.root).cloned() else {
            let unknown = format!("object {} of {} was leased", object.id, object.version.root);
            return Err(jetline_store::Error::Corrupt(unknown));
        };
        Ok(Leased { object, source })
    }

    /// Reads objects to their ends, or until it is stopped or the lease of one is lost. Unfinished objects are released, so
    /// that another reader can lease them at once.
    async fn read_leased(
        &self,
        leased: Vec<Leased>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let objects: Vec<ObjectId> = leased.iter().map(|leased| leased.object.id).collect();
        let progress = Arc::new(ReadProgress::default());
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = self.keep_leases(&objects) => None,
            () = self.record_progress(&objects, &progress) => None,
            read = self.read_batch(leased, &progress) => Some(read),
        };
        match read {
            Some(Ok(())) => Ok(()),
            interrupted => {
                self.ledger.release(&objects, &self.owner).await?;
                interrupted.unwrap_or(Ok(()))
            }
        }
    }

    /// Renews leases; returns when one is lost.
    async fn keep_leases(&self, objects: &[ObjectId]) {
        let mut ticks = tokio::time::interval(self.settings.lease / 3);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let kept = self.ledger.renew(objects, &self.owner, self.settings.lease);
            match kept.await {
                Ok(kept) => {
                    let mut objects = objects.iter();
                    if let Some(object) = objects.find(|object| !kept.contains(object)) {
                        tracing::warn!(
                            object = object.get(),
                            "lease lost: the object is settled, is replayed, or another fetcher has it"
                        );
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = jetline_runtime::causes(&error), "renew leases failed");
                }
            }
        }
    }

    /// Records how far a large object is read, until it is read. It is only for those who watch: an error is ignored.
    async fn record_progress(&self, objects: &[ObjectId], progress: &ReadProgress) {
        let [object] = objects else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let (bytes, stored) = progress.get();
            let recorded = self.ledger.record_read(*object, &self.owner, bytes, stored).await;
            if let Err(error) = recorded {
                tracing::debug!(error = jetline_runtime::causes(&error), "record progress failed");
            }
        }
    }

    /// Reads objects in order. They are finished together, when all their chunks are acknowledged.
    async fn read_batch(
        &self,
        leased: Vec<Leased>,
        progress: &Arc<ReadProgress>,
    ) -> Result<(), Error> {
        let totals: Vec<_> =
            leased.iter().map(|leased| (leased.object.id, leased.object.total_bytes)).collect();
        let gaps = self.ledger.gaps(&totals).await?;
        let window = self.settings.publish_window;
        let mut publisher = Publisher::new(self.queue.clone(), window, self.seed);
        let mut watermark = WatermarkCache::new(self.ledger.clone());
        let mut prefetched =
            std::pin::pin!(prefetch::prefetch(leased.into_iter().zip(gaps).collect()));
        let (mut outcome, mut ledger_error) = (BatchOutcome::default(), None);
        while let Some(Prefetched { leased, gaps, stored }) = prefetched.next().await {
            let (id, key, uri) =
                (leased.object.id, &leased.object.version.key, leased.object.version.uri());
            tracing::info!(object = id.get(), key, attempt = leased.object.attempts, "read object");
            match gaps {
                Ok(gaps) => {
                    let window_log = self.settings.window_log();
                    let declared = if leased.object.is_posted {
                        // JSON Lines, whatever files have.
                        DeclaredFormat::Auto
                    } else {
                        match self.declared.of(&leased.object).await {
                            Ok(declared) => declared,
                            Err(error) => {
                                ledger_error = Some(error);
                                continue;
                            }
                        }
                    };
                    let mut attempt = ReadAttempt::new(
                        leased,
                        stored,
                        &*self.queue,
                        self.seed,
                        window_log,
                        declared,
                        progress.clone(),
                    );
                    let read = attempt.run(&gaps, &mut publisher, &mut watermark).await;
                    match read {
                        Ok(ReadResult::Refused(refusal)) => outcome.refused.push(refusal),
                        Ok(ReadResult::Read(reading)) => {
                            self.update_deferral(&uri, &reading, attempt.is_changed);
                            outcome.read.push((id, reading));
                        }
                        Err(Error::Ledger(error)) => ledger_error = Some(error),
                        Err(error) => return Err(error),
                    }
                }
                // The other objects of the batch are read all the same.
                Err(error) => ledger_error = Some(error),
            }
        }
        publisher.flush().await?;
        self.finish(&outcome).await;
        ledger_error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Delays the next version of an object that could not be read to its end.
    fn update_deferral(&self, uri: &str, reading: &ReadOutcome, is_changed: bool) {
        if matches!(reading, ReadOutcome::EndReached { error: None, .. }) {
            self.sources.deferrals.on_read(uri);
        } else {
            self.sources.deferrals.on_failed(uri, is_changed, self.seed);
        }
    }

    /// Records the outcomes, retrying until that succeeds: what was published need not be read again.
    async fn finish(&self, outcome: &BatchOutcome) {
        let mut backoff = Backoff::for_calls(self.seed);
        while let Err(error) = self.ledger.record_outcomes(&outcome.read, &self.owner).await {
            tokio::time::sleep(log_and_next_delay(&mut backoff, &error)).await;
        }
        while let Err(error) = self.ledger.record_refusals(&outcome.refused, &self.owner).await {
            tokio::time::sleep(log_and_next_delay(&mut backoff, &error)).await;
        }
    }
}

fn log_and_next_delay(backoff: &mut Backoff, error: &jetline_store::Error) -> Duration {
    let delay = backoff.next_delay();
    tracing::warn!(
        error = jetline_runtime::causes(error),
        delay_ms = jetline_runtime::millis(delay),
        "ledger operation failed, retrying"
    );
    delay
}
