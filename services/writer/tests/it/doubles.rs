//! Decorators of queue and dedup store that record what a writer does, and block it where a test needs that.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use jetline_core::{EpochId, Key, Mode, ObjectId};
use jetline_dedup::{Claim, Claimed, Dedup};
use jetline_queue::{
    Acker, Chunk, InProcess, PublishAck, Queue, QueueDestination, ReceivedChunk, Subject, Wakeup,
};
use tokio::sync::Semaphore;

/// A queue that counts received chunks and extensions of their acknowledgement deadlines.
pub(crate) struct CountingQueue {
    inner: InProcess,
    /// Earlier deliveries of each chunk, as its deliveries report.
    earlier: u64,
    progress: Arc<AtomicU64>,
    received: AtomicU64,
}

impl CountingQueue {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_earlier_deliveries(0)
    }

    pub(crate) fn with_earlier_deliveries(earlier: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: InProcess::new(1 << 20),
            earlier,
            progress: Arc::default(),
            received: AtomicU64::new(0),
        })
    }

    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::SeqCst)
    }

    /// How many chunks were received.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Queue for CountingQueue {
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, jetline_queue::Error> {
        self.inner.publish(chunk).await
    }

    async fn receive(&self, max: usize) -> Result<Vec<ReceivedChunk>, jetline_queue::Error> {
        let deliveries = self.inner.receive(max).await?;
        self.received.fetch_add(deliveries.len() as u64, Ordering::SeqCst);
        let deliveries = deliveries.into_iter().map(|delivery| {
            let (chunk, attempt) = (delivery.chunk.clone(), delivery.attempt + self.earlier);
            let acker = CountingAcker {
                delivery: Mutex::new(Some(delivery)),
                progress: self.progress.clone(),
            };
            ReceivedChunk::new(chunk, attempt, Box::new(acker))
        });
        Ok(deliveries.collect())
    }

    async fn pending(&self, objects: &[ObjectId]) -> Result<Vec<u64>, jetline_queue::Error> {
        self.inner.pending(objects).await
    }

    fn max_body_bytes(&self) -> usize {
        self.inner.max_body_bytes()
    }

    fn destination(&self) -> QueueDestination {
        self.inner.destination()
    }

    fn wakeup(&self, subject: Subject) -> Wakeup {
        self.inner.wakeup(subject)
    }
}

struct CountingAcker {
    delivery: Mutex<Option<ReceivedChunk>>,
    progress: Arc<AtomicU64>,
}

impl CountingAcker {
    fn take(&self) -> Option<ReceivedChunk> {
        self.delivery.lock().unwrap().take()
    }
}

#[async_trait]
impl Acker for CountingAcker {
    async fn ack(&self) -> Result<(), jetline_queue::Error> {
        match self.take() {
            Some(delivery) => delivery.ack().await,
            None => Ok(()),
        }
    }

    async fn progress(&self) -> Result<(), jetline_queue::Error> {
        self.progress.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A dedup store in which claims of one id, once made, do not return before the gate is opened; or, without an id, in which no
/// entries are removed before, and the first attempt fails.
pub(crate) struct Gated {
    inner: Arc<dyn Dedup>,
    id: Option<i64>,
    gate: Semaphore,
    log: Mutex<Vec<String>>,
}

impl Gated {
    pub(crate) fn new(inner: Arc<dyn Dedup>, id: impl Into<Option<i64>>) -> Arc<Self> {
        Arc::new(Self { inner, id: id.into(), gate: Semaphore::new(0), log: Mutex::default() })
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// `claim` with the ids for each claim, `through` with the ids where it has passed the gate, and `remove`.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn note(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }
}

#[async_trait]
impl Dedup for Gated {
    fn mode(&self) -> Mode {
        self.inner.mode()
    }

    async fn claim(
        &self,
        epoch: &EpochId,
        trusted: ObjectId,
        dataset: &str,
        claims: &[Claim],
    ) -> Result<Claimed, jetline_dedup::Error> {
        let claimed = self.inner.claim(epoch, trusted, dataset, claims).await?;
        let mut ids: Vec<String> = claims.iter().map(|claim| claim.key.to_string()).collect();
        ids.sort();
        self.note(format!("claim {}", ids.join(" ")));
        if self.id.is_some_and(|id| claims.iter().any(|claim| claim.key == Key::Int(id))) {
            drop(self.gate.acquire().await.unwrap());
            self.note(format!("through {}", ids.join(" ")));
        }
        Ok(claimed)
    }

    async fn begin(&self, epoch: &EpochId) -> Result<(), jetline_dedup::Error> {
        self.inner.begin(epoch).await
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, jetline_dedup::Error> {
        self.inner.epochs().await
    }

    async fn remove(&self, ended: &[EpochId]) -> Result<u64, jetline_dedup::Error> {
        if self.id.is_none() {
            self.note("remove".to_owned());
            drop(self.gate.acquire().await.unwrap());
            if self.log().len() == 1 {
                return Err(jetline_dedup::Error::Unavailable {
                    action: "remove an epoch",
                    url: String::new(),
                    source: "the first attempt fails".into(),
                });
            }
        }
        self.inner.remove(ended).await
    }
}
