//! A memory budget for the responses that are being sent to all clients together, slow ones included.
//!
//! The buffer of a response holds permits of the budget, so that it is counted until its last byte was sent. Small
//! responses are not counted: their number is limited by that of the connections.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::database::Error;

/// Approximate size of a part of a response: a page of a list ends there, a longer response is sent in several parts.
pub(crate) const PART_BYTES: usize = 1 << 20;

/// Responses up to this size are not counted.
const SMALL_BYTES: usize = 16 << 10;

/// The bytes of one permit.
const UNIT_BYTES: usize = 1 << 10;

/// The budget.
#[derive(Clone)]
pub(crate) struct ResponseBudget {
    permits: Arc<Semaphore>,
    units: usize,
    timeout: Duration,
}

impl ResponseBudget {
    /// A budget of `bytes`; `timeout` limits the wait for a reservation.
    pub(crate) fn new(bytes: usize, timeout: Duration) -> Self {
        let units = units(bytes).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(units)), units, timeout }
    }

    /// Reserves memory for a response of up to `bytes`. One larger than the budget gets all of it.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let units = u32::try_from(units(bytes).min(self.units)).unwrap_or(u32::MAX);
        let permit = self.permits.clone().acquire_many_owned(units);
        match timeout(self.timeout, permit).await {
            Ok(Ok(permit)) => Ok(Reservation { permit, budget: self.clone() }),
            _ => Err(busy()),
        }
    }

    /// Holds memory that sending a response needs, if there is any left.
    pub(crate) fn hold(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(units(bytes)).unwrap_or(u32::MAX);
        self.permits.clone().try_acquire_many_owned(units).ok()
    }

    /// Counts a response that exists already; an error where the budget is exhausted.
    pub(crate) fn count(&self, body: Vec<u8>) -> Result<Bytes, Error> {
        if is_small(&body) {
            // Without spare capacity, as it may be cached for a moment.
            return Ok(body.into_boxed_slice().into());
        }
        let none = self.permits.clone().try_acquire_many_owned(0);
        let permit = none.map_err(|_| busy())?;
        let budget = self.clone();
        Reservation { permit, budget }.fill(body)
    }
}

/// Whether a response is too small to be counted.
pub(crate) fn is_small(body: &[u8]) -> bool {
    body.len() <= SMALL_BYTES
}

/// Memory reserved for a response.
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
    budget: ResponseBudget,
}

impl Reservation {
    /// Turns the reservation into that of a body, which keeps what it needs and releases the rest. Where the body is
    /// larger than reserved and the budget is exhausted, an error.
    pub(crate) fn fill(mut self, mut body: Vec<u8>) -> Result<Bytes, Error> {
        body.shrink_to_fit();
        let needed = units(body.len()).min(self.budget.units);
        match needed.checked_sub(self.permit.num_permits()) {
            Some(0) => {}
            Some(missing) => {
                let missing = u32::try_from(missing).unwrap_or(u32::MAX);
                let more = self.budget.permits.clone();
                let more = more.try_acquire_many_owned(missing).map_err(|_| busy())?;
                self.permit.merge(more);
            }
            None => drop(self.permit.split(self.permit.num_permits().saturating_sub(needed))),
        }
        Ok(Bytes::from_owner(Counted { body, _permit: self.permit }))
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
    bytes.div_ceil(UNIT_BYTES)
}

fn busy() -> Error {
    tracing::warn!("response refused: responses of ANSWER_BYTES are being sent");
    Error::Busy
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn response_is_counted_until_its_last_copy_is_dropped() {
        let budget = ResponseBudget::new(100 << 10, TIMEOUT);
        let body = budget.count(vec![0; 60 << 10]).unwrap();
        assert_eq!(budget.count(vec![0; 60 << 10]), Err(Error::Busy));
        let half_sent = body.slice(1..);
        drop(body);
        assert_eq!(budget.count(vec![0; 60 << 10]), Err(Error::Busy));
        drop(half_sent);
        assert!(budget.count(vec![0; 60 << 10]).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn small_response_is_never_refused() {
        let budget = ResponseBudget::new(20 << 10, TIMEOUT);
        let _large = budget.count(vec![0; 20 << 10]).unwrap();
        assert!(budget.count(vec![0; SMALL_BYTES]).is_ok());
        assert_eq!(budget.count(vec![0; SMALL_BYTES + 1]), Err(Error::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn reservation_waits_for_memory_and_releases_what_it_does_not_need() {
        let budget = ResponseBudget::new(PART_BYTES, TIMEOUT);
        let first = budget.reserve(PART_BYTES).await.unwrap();
        assert_eq!(budget.reserve(UNIT_BYTES).await.err(), Some(Error::Busy));
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.reserve(PART_BYTES / 2).await.is_ok() }
        });
        tokio::task::yield_now().await;
        let _body = first.fill(vec![0; PART_BYTES / 4]).unwrap();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn response_larger_than_the_budget_is_sent_alone() {
        let budget = ResponseBudget::new(UNIT_BYTES, TIMEOUT);
        let body = budget.count(vec![7; 50 * UNIT_BYTES]).unwrap();
        assert_eq!(body.len(), 50 * UNIT_BYTES);
        assert_eq!(budget.count(vec![0; SMALL_BYTES + 1]), Err(Error::Busy));
    }

    #[tokio::test(start_paused = true)]
    async fn response_larger_than_its_reservation_takes_more_of_the_budget() {
        let budget = ResponseBudget::new(100 << 10, TIMEOUT);
        let grown = budget.reserve(UNIT_BYTES).await.unwrap().fill(vec![0; 90 << 10]);
        let too_large = budget.reserve(UNIT_BYTES).await.unwrap().fill(vec![0; 30 << 10]);
        assert!(grown.is_ok());
        assert_eq!(too_large, Err(Error::Busy));
    }
}
