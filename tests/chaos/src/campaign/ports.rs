//! Decorators around the ports: errors, delays, lost replies, duplicate calls and crashes.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jetline_core::{EpochId, LedgerIdentity, Mode, ObjectId};
use jetline_dedup::{Claim, Claimed, Dedup, StoreInfo};
use jetline_queue::{
    Acker, Chunk, PublishAck, Queue, QueueDestination, ReceivedChunk, Subject, Wakeup,
};
use jetline_source::{ByteStream, Listing, ObjectVersion, Source};

use super::{
    fault::Kind,
    injector::{Injector, Instance},
    step::{Role, Step},
};

/// Injects the faults of one instance.
#[derive(Clone)]
pub(crate) struct Breaker {
    pub(crate) role: Role,
    pub(crate) injector: Injector,
    pub(crate) instance: Instance,
    pub(crate) crash: Crash,
}

/// Crashes an instance.
#[derive(Clone)]
pub(crate) struct Crash(pub(crate) tokio::sync::mpsc::Sender<()>);

impl Crash {
    /// Never returns: the instance is dropped.
    pub(crate) async fn now<T>(&self) -> T {
        // Full means that it is crashing, closed that it has crashed.
        let _ = self.0.try_send(());
        std::future::pending().await
    }
}

impl Breaker {
    /// Executes a step with its faults; `broken` creates the error of a failed one.
    pub(super) async fn take<T, E, F>(
        &self,
        step: Step,
        broken: impl Fn() -> E,
        call: impl Fn() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let result = match self.injector.before(step, self.instance).await {
            Some(Kind::Error) => return Err(broken()),
            Some(Kind::CrashBefore) => self.crash.now().await,
            Some(Kind::Twice) => {
                call().await?;
                call().await
            }
            _ => call().await,
        };
        match self.injector.after(step) {
            Some(Kind::LostReply) => result.and_then(|_| Err(broken())),
            Some(Kind::CrashAfter) => self.crash.now().await,
            _ => result,
        }
    }
}

fn injected() -> Box<dyn std::error::Error + Send + Sync> {
    "injected fault".into()
}

/// A source with faults.
pub(crate) struct FaultySource {
    pub(crate) inner: Arc<dyn Source>,
    pub(crate) breaker: Breaker,
}

fn source_error(uri: &str) -> jetline_source::Error {
    jetline_source::Error::Unavailable { action: "read", uri: uri.to_owned(), source: injected() }
}

#[async_trait]
impl Source for FaultySource {
    fn root(&self) -> &str {
        self.inner.root()
    }

    /// One page: a listing is one step.
    fn pages(&self) -> BoxStream<'_, Result<Listing, jetline_source::Error>> {
        let listing = async {
            let broken = || source_error(self.inner.root());
            let list = || self.inner.list();
            self.breaker.take(Step::List, broken, list).await
        };
        stream::once(listing).boxed()
    }

    async fn find(&self, key: &str) -> Result<Option<ObjectVersion>, jetline_source::Error> {
        let broken = || source_error(self.inner.root());
        let find = || self.inner.find(key);
        self.breaker.take(Step::List, broken, find).await
    }

    /// Each block is a step.
    fn read(&self, object: &ObjectVersion, range: std::ops::Range<u64>) -> ByteStream {
        let (breaker, uri) = (self.breaker.clone(), object.uri());
        let blocks = self.inner.read(object, range);
        let broken = stream::unfold(Some((blocks, breaker)), move |state| {
            let uri = uri.clone();
            async move {
                let (mut blocks, breaker) = state?;
                let (injector, step) = (&breaker.injector, Step::Read);
                match injector.before(step, breaker.instance).await {
                    Some(Kind::Error) => return Some((Err(source_error(&uri)), None)),
                    Some(Kind::CrashBefore) => breaker.crash.now().await,
                    _ => {}
                }
                let block = blocks.next().await?;
                if injector.after(step) == Some(Kind::CrashAfter) {
                    breaker.crash.now::<()>().await;
                }
                Some((block, Some((blocks, breaker))))
            }
        });
        broken.fuse().boxed()
    }
}

/// A queue with faults.
pub(crate) struct FaultyQueue {
    pub(crate) inner: Arc<dyn Queue>,
    pub(crate) breaker: Breaker,
}

fn queue_error() -> jetline_queue::Error {
    jetline_queue::Error::Unavailable {
        action: "execute the operation",
        url: "broken".to_owned(),
        source: injected(),
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, jetline_queue::Error> {
        let publish = || self.inner.publish(chunk.clone());
        let ack = self.breaker.take(Step::Publish, queue_error, publish).await?;
        let breaker = self.breaker.clone();
        Ok(Box::pin(async move {
            let ack = tokio::sync::Mutex::new(Some(ack));
            let wait = || async {
                match ack.lock().await.take() {
                    Some(ack) => ack.await,
                    None => Ok(()),
                }
            };
            breaker.take(Step::Published, queue_error, wait).await
        }))
    }

    async fn receive(&self, max: usize) -> Result<Vec<ReceivedChunk>, jetline_queue::Error> {
        let mut twice = false;
        let injector = &self.breaker.injector;
        match injector.before(Step::Receive, self.breaker.instance).await {
            Some(Kind::Error) => return Err(queue_error()),
            Some(Kind::CrashBefore) => self.breaker.crash.now().await,
            Some(Kind::Twice) => twice = true,
            _ => {}
        }
        let deliveries = self.inner.receive(max).await?;
        match injector.after(Step::Receive) {
            // Dropped deliveries are redelivered.
            Some(Kind::LostReply) => return Err(queue_error()),
            Some(Kind::CrashAfter) => self.breaker.crash.now().await,
            _ => {}
        }
        let mut broken = Vec::new();
        for delivery in deliveries {
            let (chunk, attempt) = (delivery.chunk.clone(), delivery.attempt);
            let acker = FaultyAcker {
                delivery: Arc::new(tokio::sync::Mutex::new(Some(delivery))),
                breaker: self.breaker.clone(),
            };
            if twice {
                broken.push(ReceivedChunk::new(chunk.clone(), attempt, Box::new(acker.clone())));
            }
            broken.push(ReceivedChunk::new(chunk, attempt, Box::new(acker)));
        }
        Ok(broken)
    }

    async fn pending(&self, objects: &[ObjectId]) -> Result<Vec<u64>, jetline_queue::Error> {
        let pending = || self.inner.pending(objects);
        self.breaker.take(Step::Pending, queue_error, pending).await
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

/// The acker of a delivery, perhaps of two copies.
#[derive(Clone)]
struct FaultyAcker {
    delivery: Arc<tokio::sync::Mutex<Option<ReceivedChunk>>>,
    breaker: Breaker,
}

#[async_trait]
impl Acker for FaultyAcker {
    async fn ack(&self) -> Result<(), jetline_queue::Error> {
        let ack = || async {
            match self.delivery.lock().await.take() {
                Some(delivery) => delivery.ack().await,
                None => Ok(()),
            }
        };
        self.breaker.take(Step::Ack, queue_error, ack).await
    }

    async fn progress(&self) -> Result<(), jetline_queue::Error> {
        let progress = || async {
            match &*self.delivery.lock().await {
                Some(delivery) => delivery.progress().await,
                None => Ok(()),
            }
        };
        self.breaker.take(Step::Progress, queue_error, progress).await
    }
}

/// A dedup store with faults.
pub(crate) struct FaultyDedup {
    pub(crate) inner: Arc<dyn Dedup>,
    pub(crate) breaker: Breaker,
}

fn dedup_error() -> jetline_dedup::Error {
    jetline_dedup::Error::Unavailable {
        action: "execute the operation",
        url: "broken".to_owned(),
        source: injected(),
    }
}

#[async_trait]
impl Dedup for FaultyDedup {
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
        let claim = || self.inner.claim(epoch, trusted, dataset, claims);
        self.breaker.take(Step::Claim, dedup_error, claim).await
    }

    async fn begin(&self, epoch: &EpochId) -> Result<(), jetline_dedup::Error> {
        let begin = || self.inner.begin(epoch);
        self.breaker.take(Step::BeginStore, dedup_error, begin).await
    }

    async fn store_info(&self) -> Result<Option<StoreInfo>, jetline_dedup::Error> {
        self.inner.store_info().await
    }

    async fn set_ledger(&self, ledger: &LedgerIdentity) -> Result<(), jetline_dedup::Error> {
        self.inner.set_ledger(ledger).await
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, jetline_dedup::Error> {
        let epochs = || self.inner.epochs();
        self.breaker.take(Step::ListEpochs, dedup_error, epochs).await
    }

    async fn remove(&self, ended: &[EpochId]) -> Result<u64, jetline_dedup::Error> {
        let remove = || self.inner.remove(ended);
        self.breaker.take(Step::Sweep, dedup_error, remove).await
    }
}
