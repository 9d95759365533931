//! Leases objects and reads them, one after another: a large one alone, small ones as a batch.
//!
//! What a small object costs is what is done for each one, so the ledger is asked and told once for a batch, and the next
//! objects are read while the queue has not yet taken the chunks of the last.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jetline_queue::Queue;
use jetline_records::ObjectId;
use jetline_runtime::Backoff;
use jetline_source::ObjectVersion;
use jetline_store::{
    Ledger,
    entities::objects,
    ledger::{Reading, Refusal},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    FetcherSettings,
    ahead::{self, Leased, Turn},
    broken::Error,
    publish::Publisher,
    reading::{ObjectReading, Outcome},
    sources::Sources,
    watermark::Watermark,
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
}

/// How the readings of a batch ended.
#[derive(Default)]
struct Ended {
    read: Vec<(ObjectId, Reading)>,
    refused: Vec<Refusal>,
}

impl Reader {
    /// Reads until it is stopped. Returns an error only for what waiting does not help.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let roots = self.sources.roots();
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY, self.seed);
        while !stop.is_cancelled() {
            let wait = match self.lease(&roots).await {
                Ok(leased) if leased.is_empty() => IDLE,
                Ok(leased) => match self.read_leased(leased, &stop).await {
                    Ok(()) => {
                        backoff.reset();
                        continue;
                    }
                    Err(Error::Queue(error)) => return Err(Error::Queue(error)),
                    Err(Error::Ledger(error)) => waiting(&mut backoff, &error),
                },
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

    async fn lease(&self, roots: &[String]) -> Result<Vec<Leased>, jetline_store::Error> {
        let batch = ahead::batch(self.settings.fetch_batch.get());
        let objects = self
            .ledger
            .lease(&self.owner, roots, self.settings.lease, batch)
            .await?;
        objects
            .into_iter()
            .map(|object| self.leased(object))
            .collect()
    }

    fn leased(&self, object: objects::Model) -> Result<Leased, jetline_store::Error> {
        let (Some(id), Some(source)) = (ObjectId::new(object.id), self.sources.of(&object.root))
        else {
            let unknown = format!("object {} at {} was leased", object.id, object.root);
            return Err(jetline_store::Error::Damaged(unknown));
        };
        Ok(Leased {
            id,
            version: ObjectVersion {
                root: object.root.clone(),
                key: object.key.clone(),
                etag: object.etag.clone(),
                size: object.size.cast_unsigned(),
                last_modified: object.last_modified,
            },
            source: source.clone(),
            object,
        })
    }

    /// Reads objects to their ends, or until it is stopped or somebody else has one of them. What is not finished then is
    /// anybody's at once.
    async fn read_leased(
        &self,
        leased: Vec<Leased>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let objects: Vec<ObjectId> = leased.iter().map(|leased| leased.id).collect();
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            () = self.keep_leases(&objects) => None,
            read = self.read_batch(leased) => Some(read),
        };
        match read {
            Some(Ok(())) => Ok(()),
            broken_off => {
                self.ledger.release(&objects, &self.owner).await?;
                broken_off.unwrap_or(Ok(()))
            }
        }
    }

    /// Renews leases for as long as they can be; returns when somebody else has one of the objects.
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
                        tracing::warn!(%object, "the object was taken from its reader: it ended or is replayed, or another fetcher has it");
                        return;
                    }
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the leases were not renewed"
                ),
            }
        }
    }

    /// Reads objects in their order. They are finished together, when the queue has taken all of them.
    async fn read_batch(&self, leased: Vec<Leased>) -> Result<(), Error> {
        let totals: Vec<_> = leased
            .iter()
            .map(|leased| {
                let total = leased.object.total_bytes;
                (leased.id, total.map(i64::cast_unsigned))
            })
            .collect();
        let gaps = self.ledger.gaps_of_batch(&totals).await?;
        let window = self.settings.publish_window;
        let mut publisher = Publisher::new(self.queue.clone(), window, self.seed);
        let mut watermark = Watermark::new(self.ledger.clone());
        let mut turns = std::pin::pin!(ahead::turns(leased.into_iter().zip(gaps).collect()));
        let (mut ended, mut damaged) = (Ended::default(), None);
        while let Some(Turn {
            leased,
            gaps,
            stored,
        }) = turns.next().await
        {
            let (id, key, uri) = (leased.id, &leased.object.key, leased.version.uri());
            tracing::info!(object = %id, object.key = key, reading = leased.object.readings, "reading begins");
            match gaps {
                Ok(gaps) => {
                    let destination = self.queue.destination();
                    let window_log = self.settings.window_log();
                    let mut reading =
                        ObjectReading::new(leased, stored, destination, self.seed, window_log);
                    let reading = reading.run(&gaps, &mut publisher, &mut watermark);
                    match reading.await? {
                        Outcome::Refused(refusal) => ended.refused.push(refusal),
                        Outcome::Read(reading) => {
                            self.note(&uri, &reading);
                            ended.read.push((id, reading));
                        }
                    }
                }
                // It keeps its neighbours from nothing.
                Err(error) => damaged = Some(error),
            }
        }
        publisher.flush().await?;
        self.finish(&ended).await;
        damaged.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Where an object could not be read to its end, there may be a new version of it to register.
    fn note(&self, uri: &str, reading: &Reading) {
        if matches!(reading, Reading::Complete { error: None, .. }) {
            self.sources.changing.read(uri);
        } else {
            self.sources.changing.failed(uri, self.seed);
        }
    }

    /// Notes how readings ended, however long the database is away: what was published is not read again for it.
    async fn finish(&self, ended: &Ended) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY, self.seed);
        while let Err(error) = self.ledger.finish(&ended.read, &self.owner).await {
            tokio::time::sleep(waiting(&mut backoff, &error)).await;
        }
        while let Err(error) = self.ledger.note_refusals(&ended.refused, &self.owner).await {
            tokio::time::sleep(waiting(&mut backoff, &error)).await;
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
