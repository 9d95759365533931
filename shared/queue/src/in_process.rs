//! A queue in the memory of one process, in strict order.
//!
//! There is no acknowledgement wait: within a process a delivery can only be dropped, and is then redelivered at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::future;
use jetline_core::ObjectId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{
    Acker, Chunk, Error, PublishAck, Queue, QueueDestination, ReceivedChunk, Subject, Wakeup,
};

/// The queue of `jetline` without NATS.
///
/// Chunks are received in the order of publication; a redelivered one comes before all that were published after it.
/// [`Queue::publish`] waits while the queue is full.
pub struct InProcess {
    shared: Arc<Shared>,
    /// One permit for each byte of a body.
    permits: Arc<Semaphore>,
    capacity: u32,
    deliveries: Wakeup,
    objects: Wakeup,
}

impl InProcess {
    /// A queue that holds up to `capacity` bytes of bodies, waiting and in flight.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let capacity = capacity.max(1);
        Self {
            shared: Arc::default(),
            permits: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            deliveries: Wakeup::default(),
            objects: Wakeup::default(),
        }
    }
}

#[async_trait]
impl Queue for InProcess {
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, Error> {
        let bytes = u32::try_from(chunk.payload_bytes()).unwrap_or(u32::MAX);
        if bytes > self.capacity {
            return Err(Error::Refused {
                action: "publish a chunk",
                url: "in process".to_owned(),
                reason: format!(
                    "its body of {bytes} bytes exceeds the queue's capacity: lower CHUNK_BYTES"
                ),
            });
        }
        // An empty body takes a permit too, so that the number of chunks is bounded. The semaphore is fair.
        let permits = Arc::clone(&self.permits)
            .acquire_many_owned(bytes.max(1))
            .await
            .map_err(|_| Error::Closed)?;
        self.shared.publish(Entry { chunk, attempts: 0, _permits: permits });
        Ok(Box::pin(future::ready(Ok(()))))
    }

    async fn receive(&self, max: usize) -> Result<Vec<ReceivedChunk>, Error> {
        loop {
            // Created before the check, so that an arrival between check and wait is not missed.
            let arrival = self.shared.arrival.notified();
            let taken = Shared::take(&self.shared, max.max(1));
            if !taken.is_empty() {
                return Ok(taken);
            }
            arrival.await;
        }
    }

    async fn pending(&self, objects: &[ObjectId]) -> Result<Vec<u64>, Error> {
        let state = self.shared.state();
        let each = objects.iter().map(|object| state.pending_of(*object));
        Ok(each.collect())
    }

    fn max_body_bytes(&self) -> usize {
        self.capacity as usize
    }

    fn destination(&self) -> QueueDestination {
        QueueDestination { system: "in_process", name: "chunks".to_owned() }
    }

    fn wakeup(&self, subject: Subject) -> Wakeup {
        match subject {
            Subject::Deliveries => self.deliveries.clone(),
            Subject::Objects => self.objects.clone(),
        }
    }
}

/// A chunk that is not acknowledged.
struct Entry {
    chunk: Chunk,
    attempts: u64,
    _permits: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrival: Notify,
}

#[derive(Default)]
struct State {
    published: u64,
    /// By the order of publication.
    waiting: BTreeMap<u64, Entry>,
    /// Waiting or in flight.
    pending: HashMap<ObjectId, u64>,
}

impl State {
    fn pending_of(&self, object: ObjectId) -> u64 {
        self.pending.get(&object).copied().unwrap_or_default()
    }
}

impl Shared {
    fn publish(&self, held: Entry) {
        let mut state = self.state();
        let order = state.published;
        state.published += 1;
        *state.pending.entry(held.chunk.object).or_default() += 1;
        state.waiting.insert(order, held);
        self.arrival.notify_waiters();
    }

    fn take(shared: &Arc<Self>, max: usize) -> Vec<ReceivedChunk> {
        let mut state = shared.state();
        std::iter::from_fn(|| state.waiting.pop_first())
            .take(max)
            .map(|(order, mut held)| {
                held.attempts += 1;
                let (chunk, attempt) = (held.chunk.clone(), held.attempts);
                let acker =
                    InFlight { shared: Arc::clone(shared), order, held: Mutex::new(Some(held)) };
                ReceivedChunk::new(chunk, attempt, Box::new(acker))
            })
            .collect()
    }

    fn finish(&self, held: &Entry) {
        let mut state = self.state();
        let object = held.chunk.object;
        let left = state.pending.get(&object).map_or(0, |count| count - 1);
        if left == 0 {
            state.pending.remove(&object);
        } else {
            state.pending.insert(object, left);
        }
    }

    fn put_back(&self, order: u64, held: Entry) {
        self.state().waiting.insert(order, held);
        self.arrival.notify_waiters();
    }

    /// The state. A poisoned lock is usable: no code panics between two changes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A delivered chunk; returns to the queue if it is dropped before it is acknowledged.
struct InFlight {
    shared: Arc<Shared>,
    order: u64,
    held: Mutex<Option<Entry>>,
}

impl InFlight {
    fn take(&self) -> Option<Entry> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_back(&self) {
        if let Some(held) = self.take() {
            self.shared.put_back(self.order, held);
        }
    }
}

#[async_trait]
impl Acker for InFlight {
    async fn ack(&self) -> Result<(), Error> {
        if let Some(held) = self.take() {
            self.shared.finish(&held);
        }
        Ok(())
    }

    async fn progress(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.put_back();
    }
}
