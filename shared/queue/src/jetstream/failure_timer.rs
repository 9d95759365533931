//! How long an operation has failed that only a new stream can repair.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// After how long a stream is replaced whose store is damaged: the server never repairs it by itself.
const REPLACE_AFTER: Duration = Duration::from_secs(10);

/// The delay doubles with every replacement that did not help, up to this.
const MAX_REPLACE_DELAY: Duration = Duration::from_mins(10);

/// Measures from the first of successive failures.
#[derive(Default)]
pub(super) struct FailureTimer(Mutex<State>);

#[derive(Default)]
struct State {
    since: Option<Instant>,
    replaced: u32,
}

impl FailureTimer {
    /// Records a success.
    pub(super) fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// Whether the last attempt failed.
    pub(super) fn is_failing(&self) -> bool {
        self.state().since.is_some()
    }

    /// Records a failure. Returns whether the stream is to be replaced now; then the measurement restarts.
    pub(super) fn failed_for_long(&self) -> bool {
        let mut state = self.state();
        let since = *state.since.get_or_insert_with(Instant::now);
        let delay = REPLACE_AFTER * 2_u32.saturating_pow(state.replaced.min(10));
        let is_due = since.elapsed() >= delay.min(MAX_REPLACE_DELAY);
        if is_due {
            state.since = None;
            state.replaced += 1;
        }
        is_due
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, pause};

    use super::*;

    #[tokio::test]
    async fn delay_doubles_with_every_replacement() {
        pause();
        let timer = FailureTimer::default();
        for delay in [10, 20, 40] {
            assert!(!timer.failed_for_long());
            advance(Duration::from_secs(delay - 1)).await;
            assert!(!timer.failed_for_long());
            advance(Duration::from_secs(1)).await;
            assert!(timer.failed_for_long());
        }
        timer.succeeded();
        assert!(!timer.failed_for_long());
        advance(REPLACE_AFTER).await;
        assert!(timer.failed_for_long());
    }
}
