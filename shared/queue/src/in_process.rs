//! Chunks in the memory of one process, in strict order.
//!
//! There is no acknowledgement wait: within a process a delivery is lost only by being dropped, and then it is back
//! at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::future;
use jetline_records::ObjectId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::{Acker, Chunk, Delivery, Destination, Error, PublishAck, Queue};

/// The queue of the standalone service.
///
/// Chunks are received in the order in which they were published; one that comes back goes before all that were
/// published after it. [`Queue::publish`] waits until there is room.
pub struct InProcess {
    shared: Arc<Shared>,
    /// One permit for each byte of a body.
    room: Arc<Semaphore>,
    capacity: u32,
}

impl InProcess {
    /// A queue whose bodies, waiting and in flight, take up to `capacity` bytes together.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        let capacity = capacity.max(1);
        Self {
            shared: Arc::default(),
            room: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
        }
    }
}

#[async_trait]
impl Queue for InProcess {
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, Error> {
        let bytes = u32::try_from(chunk.body.len()).unwrap_or(u32::MAX);
        if bytes > self.capacity {
            return Err(Error::Refused {
                action: "publish a chunk",
                url: "in process".to_owned(),
                reason: format!(
                    "its body of {bytes} bytes is over the queue's capacity: make chunks smaller"
                ),
            });
        }
        // An empty body takes a byte too, so that the number of chunks is bounded. The semaphore is fair.
        let room = Arc::clone(&self.room)
            .acquire_many_owned(bytes.max(1))
            .await
            .map_err(|_| Error::Closed)?;
        self.shared.publish(Held {
            chunk,
            attempts: 0,
            _room: room,
        });
        Ok(Box::pin(future::ready(Ok(()))))
    }

    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        loop {
            // Made before looking, it also hears of what arrives between looking and waiting.
            let arrival = self.shared.arrival.notified();
            let taken = Shared::take(&self.shared, max.max(1));
            if !taken.is_empty() {
                return Ok(taken);
            }
            arrival.await;
        }
    }

    async fn pending(&self, object: ObjectId) -> Result<u64, Error> {
        Ok(self.shared.state().pending_of(object))
    }

    async fn pending_of_each(&self, objects: &[ObjectId]) -> Result<Vec<u64>, Error> {
        let state = self.shared.state();
        let each = objects.iter().map(|object| state.pending_of(*object));
        Ok(each.collect())
    }

    fn max_body_bytes(&self) -> usize {
        self.capacity as usize
    }

    fn destination(&self) -> Destination {
        Destination {
            system: "in_process",
            name: "chunks".to_owned(),
        }
    }
}

/// A chunk that is not acknowledged.
struct Held {
    chunk: Chunk,
    attempts: u64,
    _room: OwnedSemaphorePermit,
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
    waiting: BTreeMap<u64, Held>,
    /// Waiting or in flight.
    pending: HashMap<ObjectId, u64>,
}

impl State {
    fn pending_of(&self, object: ObjectId) -> u64 {
        self.pending.get(&object).copied().unwrap_or_default()
    }
}

impl Shared {
    fn publish(&self, held: Held) {
        let mut state = self.state();
        let order = state.published;
        state.published += 1;
        *state.pending.entry(held.chunk.object).or_default() += 1;
        state.waiting.insert(order, held);
        self.arrival.notify_waiters();
    }

    fn take(shared: &Arc<Self>, max: usize) -> Vec<Delivery> {
        let mut state = shared.state();
        std::iter::from_fn(|| state.waiting.pop_first())
            .take(max)
            .map(|(order, mut held)| {
                held.attempts += 1;
                let (chunk, attempt) = (held.chunk.clone(), held.attempts);
                let acker = InFlight {
                    shared: Arc::clone(shared),
                    order,
                    held: Mutex::new(Some(held)),
                };
                Delivery::new(chunk, attempt, Box::new(acker))
            })
            .collect()
    }

    fn finish(&self, held: &Held) {
        let mut state = self.state();
        let object = held.chunk.object;
        let left = state.pending.get(&object).map_or(0, |count| count - 1);
        if left == 0 {
            state.pending.remove(&object);
        } else {
            state.pending.insert(object, left);
        }
    }

    fn give_back(&self, order: u64, held: Held) {
        self.state().waiting.insert(order, held);
        self.arrival.notify_waiters();
    }

    /// The state; no code that holds it can leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A chunk in a writer's hands; comes back when it is dropped before it is acknowledged.
struct InFlight {
    shared: Arc<Shared>,
    order: u64,
    held: Mutex<Option<Held>>,
}

impl InFlight {
    fn take(&self) -> Option<Held> {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn give_back(&self) {
        if let Some(held) = self.take() {
            self.shared.give_back(self.order, held);
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

    async fn nak(&self) -> Result<(), Error> {
        self.give_back();
        Ok(())
    }

    async fn progress(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.give_back();
    }
}
