//! Commits in the order in which chunks were received, by workers that do everything else at the same time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Mutex, MutexGuard, watch};

/// Whose turn it is.
#[derive(Clone)]
pub(crate) struct Turns(Option<Arc<Counters>>);

struct Counters {
    receiving: Mutex<()>,
    given: AtomicU64,
    over: watch::Sender<u64>,
}

impl Turns {
    /// Everybody's, always.
    pub(crate) fn free() -> Self {
        Self(None)
    }

    /// One worker's after the other.
    pub(crate) fn in_order() -> Self {
        Self(Some(Arc::new(Counters {
            receiving: Mutex::new(()),
            given: AtomicU64::new(0),
            over: watch::Sender::new(0),
        })))
    }

    /// To be held from before chunks are received until [`Self::give`].
    pub(crate) async fn receiving(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.0 {
            Some(counters) => Some(counters.receiving.lock().await),
            None => None,
        }
    }

    /// The turn of the chunks that were just received.
    pub(crate) fn give(&self) -> Turn {
        Turn(self.0.as_ref().map(|counters| {
            let number = counters.given.fetch_add(1, Ordering::Relaxed);
            (counters.clone(), number)
        }))
    }
}

/// A turn. It is over when its chunks are committed: dropped before, it holds back all that come after it, which would
/// otherwise be committed without them.
pub(crate) struct Turn(Option<(Arc<Counters>, u64)>);

impl Turn {
    /// Resolves when all turns before it are over.
    pub(crate) async fn come(&self) {
        if let Some((counters, number)) = &self.0 {
            let mut over = counters.over.subscribe();
            // The sender is held here, so that it cannot be gone.
            let _ = over.wait_for(|over| over == number).await;
        }
    }

    /// Ends it.
    pub(crate) fn end(self) {
        if let Some((counters, number)) = self.0 {
            counters.over.send_replace(number + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn turns_come_in_the_order_in_which_they_were_given() {
        let turns = Turns::in_order();
        let (first, second) = (turns.give(), turns.give());
        assert!(second.come().now_or_never().is_none());
        first.come().await;
        first.end();
        second.come().await;
    }

    #[tokio::test]
    async fn turn_that_is_dropped_before_its_end_holds_back_the_next() {
        let turns = Turns::in_order();
        let (first, second) = (turns.give(), turns.give());
        drop(first);
        assert!(second.come().now_or_never().is_none());
    }

    #[tokio::test]
    async fn one_worker_receives_at_a_time() {
        let turns = Turns::in_order();
        let held = turns.receiving().await;
        let mut other = Box::pin(turns.receiving());
        assert!(poll!(&mut other).is_pending());
        drop(held);
        assert!(poll!(other).is_ready());
    }

    #[tokio::test]
    async fn without_an_order_it_is_always_everybodys_turn() {
        let turns = Turns::free();
        let _held = turns.receiving().await;
        assert!(turns.receiving().await.is_none());
        let (_first, second) = (turns.give(), turns.give());
        second.come().await;
    }
}
