//! How long something has failed that nothing but another stream cures.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A server whose store is damaged says so for ever: after so long its stream is replaced.
const FIRST_DELAY: Duration = Duration::from_secs(10);

/// Each time that this was in vain, it is waited twice as long; no longer than this.
const LONGEST_DELAY: Duration = Duration::from_mins(10);

/// Counts from the first failure in a row.
#[derive(Default)]
pub(super) struct Failing(Mutex<State>);

#[derive(Default)]
struct State {
    since: Option<Instant>,
    replaced: u32,
}

impl Failing {
    /// It works.
    pub(super) fn is_over(&self) {
        *self.state() = State::default();
    }

    /// Whether it has failed and does not work yet.
    pub(super) fn has_begun(&self) -> bool {
        self.state().since.is_some()
    }

    /// It failed. Says whether it has for so long that the stream is to be replaced; then it counts anew.
    pub(super) fn is_long(&self) -> bool {
        let mut state = self.state();
        let since = *state.since.get_or_insert_with(Instant::now);
        let delay = FIRST_DELAY * 2_u32.saturating_pow(state.replaced.min(10));
        let is_long = since.elapsed() >= delay.min(LONGEST_DELAY);
        if is_long {
            state.since = None;
            state.replaced += 1;
        }
        is_long
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
    async fn what_fails_again_is_waited_for_twice_as_long() {
        pause();
        let failing = Failing::default();
        for delay in [10, 20, 40] {
            assert!(!failing.is_long());
            advance(Duration::from_secs(delay - 1)).await;
            assert!(!failing.is_long());
            advance(Duration::from_secs(1)).await;
            assert!(failing.is_long());
        }
        failing.is_over();
        assert!(!failing.is_long());
        advance(FIRST_DELAY).await;
        assert!(failing.is_long());
    }
}
