//! Commits in the order in which chunks were received, by workers that do everything else concurrently.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Mutex, MutexGuard, watch};

/// The order in which workers commit.
#[derive(Clone)]
pub(crate) struct CommitOrder(Option<Arc<Counters>>);

struct Counters {
    receiving: Mutex<()>,
    next_ticket: AtomicU64,
    /// The ticket that may commit now.
    current: watch::Sender<u64>,
}

impl CommitOrder {
    /// Any worker commits at any time.
    pub(crate) fn unordered() -> Self {
        Self(None)
    }

    /// Workers commit one after another, in the order of their tickets.
    pub(crate) fn in_order() -> Self {
        Self(Some(Arc::new(Counters {
            receiving: Mutex::new(()),
            next_ticket: AtomicU64::new(0),
            current: watch::Sender::new(0),
        })))
    }

    /// To be held from before chunks are received until their ticket is issued.
    pub(crate) async fn lock_receive(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.0 {
            Some(counters) => Some(counters.receiving.lock().await),
            None => None,
        }
    }

    /// Issues the ticket of the chunks that were just received.
    pub(crate) fn issue_ticket(&self) -> Ticket {
        Ticket(self.0.as_ref().map(|counters| {
            let number = counters.next_ticket.fetch_add(1, Ordering::Relaxed);
            (counters.clone(), number)
        }))
    }
}

/// A place in the commit order. If it is dropped before [`Self::complete`], all later tickets wait forever: their
/// chunks must not be committed without those of this one.
pub(crate) struct Ticket(Option<(Arc<Counters>, u64)>);

impl Ticket {
    /// Waits until all earlier tickets are complete.
    pub(crate) async fn wait(&self) {
        if let Some((counters, number)) = &self.0 {
            let mut current = counters.current.subscribe();
            // This ticket holds the sender, so that the channel cannot be closed.
            let _ = current.wait_for(|current| current == number).await;
        }
    }

    /// Marks its chunks as committed and lets the next ticket commit. Waits for all earlier ones: this one may have had nothing
    /// to commit.
    pub(crate) async fn complete(self) {
        self.wait().await;
        if let Some((counters, number)) = self.0 {
            counters.current.send_replace(number + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn tickets_commit_in_the_order_in_which_they_were_issued() {
        let order = CommitOrder::in_order();
        let (first, second) = (order.issue_ticket(), order.issue_ticket());
        assert!(second.wait().now_or_never().is_none());
        first.complete().await;
        second.wait().await;
    }

    #[tokio::test]
    async fn ticket_with_nothing_to_commit_lets_no_other_one_overtake() {
        let order = CommitOrder::in_order();
        let (first, empty, last) =
            (order.issue_ticket(), order.issue_ticket(), order.issue_ticket());
        let mut completed = Box::pin(empty.complete());
        assert!(poll!(&mut completed).is_pending());
        assert!(last.wait().now_or_never().is_none());
        first.complete().await;
        completed.await;
        last.wait().await;
    }

    #[tokio::test]
    async fn ticket_dropped_before_completion_blocks_the_next() {
        let order = CommitOrder::in_order();
        let (first, second) = (order.issue_ticket(), order.issue_ticket());
        drop(first);
        assert!(second.wait().now_or_never().is_none());
    }

    #[tokio::test]
    async fn one_worker_receives_at_a_time() {
        let order = CommitOrder::in_order();
        let held = order.lock_receive().await;
        let mut other = Box::pin(order.lock_receive());
        assert!(poll!(&mut other).is_pending());
        drop(held);
        assert!(poll!(other).is_ready());
    }

    #[tokio::test]
    async fn without_an_order_no_ticket_waits() {
        let order = CommitOrder::unordered();
        let _held = order.lock_receive().await;
        assert!(order.lock_receive().await.is_none());
        let (_first, second) = (order.issue_ticket(), order.issue_ticket());
        second.wait().await;
    }
}
