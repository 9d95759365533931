//! The memory of the answers that are being sent: bounded for all clients together, those included who take theirs slowly.
//!
//! What is counted stays counted until its last byte has left for the network, for it is the buffer itself that holds the
//! permits. Small answers are not counted: there are no more of them than connections.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::database::Error;

/// How large a part of an answer becomes, about: a page of a list ends there, a longer answer is sent in several.
pub(crate) const PART_BYTES: usize = 1 << 20;

/// Answers up to this size are not counted.
const SMALL: usize = 16 << 10;

/// What one permit stands for.
const UNIT: usize = 1 << 10;

/// The memory that there is for answers.
#[derive(Clone)]
pub(crate) struct Answers {
    permits: Arc<Semaphore>,
    units: usize,
    wait: Duration,
}

impl Answers {
    /// Up to `bytes` in all; who finds none waits for it at most so long.
    pub(crate) fn new(bytes: usize, wait: Duration) -> Self {
        let units = units(bytes).min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(units)),
            units,
            wait,
        }
    }

    /// Sets memory aside for an answer that will have `bytes` at most. What needs more than there is in all gets all.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reserved, Error> {
        let units = u32::try_from(units(bytes).min(self.units)).unwrap_or(u32::MAX);
        let permit = self.permits.clone().acquire_many_owned(units);
        match timeout(self.wait, permit).await {
            Ok(Ok(permit)) => Ok(Reserved {
                permit,
                answers: self.clone(),
            }),
            _ => Err(busy()),
        }
    }

    /// Counts an answer that is there already; refuses it where there is no memory for it.
    pub(crate) fn count(&self, body: Vec<u8>) -> Result<Bytes, Error> {
        if is_small(&body) {
            // No larger than it is, for it may stay for a moment.
            return Ok(body.into_boxed_slice().into());
        }
        let none = self.permits.clone().try_acquire_many_owned(0);
        let permit = none.map_err(|_| busy())?;
        let answers = self.clone();
        Reserved { permit, answers }.fill(body)
    }
}

/// Whether an answer is too small to be counted.
pub(crate) fn is_small(body: &[u8]) -> bool {
    body.len() <= SMALL
}

/// Memory set aside for an answer.
pub(crate) struct Reserved {
    permit: OwnedSemaphorePermit,
    answers: Answers,
}

impl Reserved {
    /// The answer, which keeps what it needs and gives the rest back. One that became larger than expected is refused where
    /// there is no memory for it.
    pub(crate) fn fill(mut self, mut body: Vec<u8>) -> Result<Bytes, Error> {
        body.shrink_to_fit();
        let needed = units(body.len()).min(self.answers.units);
        match needed.checked_sub(self.permit.num_permits()) {
            Some(0) => {}
            Some(missing) => {
                let missing = u32::try_from(missing).unwrap_or(u32::MAX);
                let more = self.answers.permits.clone();
                let more = more.try_acquire_many_owned(missing).map_err(|_| busy())?;
                self.permit.merge(more);
            }
            None => drop(
                self.permit
                    .split(self.permit.num_permits().saturating_sub(needed)),
            ),
        }
        Ok(Bytes::from_owner(Counted {
            body,
            _permit: self.permit,
        }))
    }
}

struct Counted {
    body: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

fn busy() -> Error {
    tracing::warn!("no memory for another answer: ANSWER_BYTES are being sent");
    Error::Busy
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn answer_is_counted_until_its_last_copy_is_gone() {
        let answers = Answers::new(100 << 10, WAIT);
        let body = answers.count(vec![0; 60 << 10]).unwrap();
        assert_eq!(answers.count(vec![0; 60 << 10]), Err(Error::Busy));
        let half_sent = body.slice(1..);
        drop(body);
        assert_eq!(answers.count(vec![0; 60 << 10]), Err(Error::Busy));
        drop(half_sent);
        assert!(answers.count(vec![0; 60 << 10]).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn small_answer_is_given_whatever_else_is_being_sent() {
        let answers = Answers::new(20 << 10, WAIT);
        let _large = answers.count(vec![0; 20 << 10]).unwrap();
        assert!(answers.count(vec![0; SMALL]).is_ok());
        assert_eq!(answers.count(vec![0; SMALL + 1]), Err(Error::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn reservation_waits_for_memory_and_gives_back_what_it_does_not_need() {
        let answers = Answers::new(PART_BYTES, WAIT);
        let first = answers.reserve(PART_BYTES).await.unwrap();
        assert_eq!(answers.reserve(UNIT).await.err(), Some(Error::Busy));
        let waiting = tokio::spawn({
            let answers = answers.clone();
            async move { answers.reserve(PART_BYTES / 2).await.is_ok() }
        });
        tokio::task::yield_now().await;
        let _body = first.fill(vec![0; PART_BYTES / 4]).unwrap();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn answer_larger_than_all_memory_is_given_when_nothing_else_is_sent() {
        let answers = Answers::new(UNIT, WAIT);
        let body = answers.count(vec![7; 50 * UNIT]).unwrap();
        assert_eq!(body.len(), 50 * UNIT);
        assert_eq!(answers.count(vec![0; SMALL + 1]), Err(Error::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn answer_that_outgrows_its_reservation_takes_more_where_there_is_more() {
        let answers = Answers::new(100 << 10, WAIT);
        let grown = answers.reserve(UNIT).await.unwrap().fill(vec![0; 90 << 10]);
        let too_large = answers.reserve(UNIT).await.unwrap().fill(vec![0; 30 << 10]);
        assert!(grown.is_ok());
        assert_eq!(too_large, Err(Error::Busy));
    }
}
