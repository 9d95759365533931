//! Leases objects and reads them, one after another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jetline_queue::Queue;
use jetline_records::ObjectId;
use jetline_runtime::Backoff;
use jetline_store::{Ledger, entities::objects, ledger::Reading};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    FetcherSettings,
    reading::{Error, ObjectReading},
    sources::Sources,
};

/// How often a reader without work looks for some: another fetcher's leases end without a sign.
const IDLE: Duration = Duration::from_millis(500);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// One of a fetcher's readers.
pub(crate) struct Reader {
    pub(crate) ledger: Ledger,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) sources: Arc<Sources>,
    pub(crate) settings: FetcherSettings,
    /// Unique; the name on its leases.
    pub(crate) owner: String,
    pub(crate) seed: u64,
    /// Rings when objects were registered.
    pub(crate) registered: Arc<Notify>,
    /// Set when an object could not be read to its end: there may be a new version of it to register.
    pub(crate) list_again: Arc<AtomicBool>,
}

impl Reader {
    /// Reads until it is stopped. Returns an error only for what waiting does not help.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let roots = self.sources.roots();
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY, self.seed);
        while !stop.is_cancelled() {
            let wait = match self
                .ledger
                .lease(&self.owner, &roots, self.settings.lease)
                .await
            {
                Ok(Some(object)) => match self.read_leased(object, &stop).await {
                    Ok(()) => {
                        backoff.reset();
                        continue;
                    }
                    Err(Error::Queue(error)) => return Err(Error::Queue(error)),
                    Err(Error::Ledger(error)) => waiting(&mut backoff, &error),
                },
                Ok(None) => IDLE,
                Err(error) => waiting(&mut backoff, &error),
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.registered.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn read_leased(
        &self,
        object: objects::Model,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let (Some(id), Some(source)) = (ObjectId::new(object.id), self.sources.of(&object.root))
        else {
            let unknown = format!("object {} at {} was leased", object.id, object.root);
            return Err(jetline_store::Error::Damaged(unknown).into());
        };
        tracing::info!(object = %id, object.key = object.key, reading = object.readings, "reading begins");
        let mut reading = ObjectReading::new(
            self.ledger.clone(),
            source.clone(),
            self.queue.clone(),
            self.settings.publish_window,
            object,
            id,
            self.seed,
        );
        let read = async {
            let ended = reading.run().await?;
            self.finish(id, ended).await;
            Ok(())
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => self.ledger.release(id, &self.owner).await?,
            () = self.keep_lease(id) => tracing::warn!(object = %id, "the object was taken from its reader: it ended or is replayed, or another fetcher has it"),
            read = read => if let Err(error) = read {
                self.ledger.release(id, &self.owner).await?;
                return Err(error);
            },
        }
        Ok(())
    }

    /// Renews the lease for as long as it can be; returns when somebody else has it.
    async fn keep_lease(&self, object: ObjectId) {
        let mut ticks = tokio::time::interval(self.settings.lease / 3);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match self
                .ledger
                .renew(object, &self.owner, self.settings.lease)
                .await
            {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the lease was not renewed"
                ),
            }
        }
    }

    /// Notes how the reading ended, however long the database is away: what was published is not read again for it.
    async fn finish(&self, object: ObjectId, reading: Reading) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY, self.seed);
        if !matches!(reading, Reading::Complete { error: None, .. }) {
            self.list_again.store(true, Ordering::Release);
        }
        loop {
            match self.ledger.finish(object, &self.owner, &reading).await {
                Ok(_) => return,
                Err(error) => tokio::time::sleep(waiting(&mut backoff, &error)).await,
            }
        }
    }
}

fn waiting(backoff: &mut Backoff, error: &jetline_store::Error) -> Duration {
    let delay = backoff.next_delay();
    tracing::warn!(
        error = error as &dyn std::error::Error,
        ?delay,
        "the fetcher waits for the database"
    );
    delay
}
