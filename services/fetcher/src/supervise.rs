//! Ends objects that are complete, and has read again what the queue has lost.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jetline_queue::Queue;
use jetline_records::{EpochId, ObjectId};
use jetline_runtime::metrics::OBJECTS;
use jetline_store::{Error, Ledger, ledger::Loading};
use rand::rngs::StdRng;
use tokio::time::Instant;

/// Watches the objects that are read to the end and not done.
pub(crate) struct Supervisor {
    ledger: Ledger,
    queue: Arc<dyn Queue>,
    patience: Duration,
    randomness: StdRng,
    quiet: HashMap<ObjectId, Quiet>,
}

/// Since when nothing of an object was committed.
struct Quiet {
    committed_bytes: u64,
    since: Instant,
}

impl Supervisor {
    pub(crate) fn new(
        ledger: Ledger,
        queue: Arc<dyn Queue>,
        patience: Duration,
        randomness: StdRng,
    ) -> Self {
        Self {
            ledger,
            queue,
            patience,
            randomness,
            quiet: HashMap::new(),
        }
    }

    /// Looks once.
    pub(crate) async fn look(&mut self) -> Result<(), Error> {
        self.settle().await?;
        self.reconcile().await
    }

    async fn settle(&mut self) -> Result<(), Error> {
        let next = EpochId::random(&mut self.randomness);
        for ended in self.ledger.settle(next).await? {
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
        let loading = self.ledger.loading().await?;
        self.quiet
            .retain(|object, _| loading.iter().any(|one| one.object == *object));
        for one in loading {
            if !self.was_quiet(&one) {
                continue;
            }
            match self.queue.pending(one.object).await {
                Ok(0) => self.restore(&one).await?,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the queue does not say what it holds"
                    );
                    return Ok(());
                }
            }
        }
        Ok(())
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

    async fn restore(&mut self, loading: &Loading) -> Result<(), Error> {
        let object = loading.object;
        if loading.unreadable {
            let next = EpochId::random(&mut self.randomness);
            if self.ledger.fail(object, next).await? {
                metrics::counter!(OBJECTS, "state" => "failed").increment(1);
                tracing::error!(%object, "the object failed: what is missing of it cannot be read any more");
            }
        } else if self.ledger.reread(object).await? {
            tracing::warn!(%object, "chunks were lost on their way, what is missing is read again");
        }
        self.quiet.remove(&object);
        Ok(())
    }
}
