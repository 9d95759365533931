//! Delays between retries.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Exponential backoff with a maximum and jitter: each delay is reduced at random by up to half.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    current: Duration,
    randomness: SmallRng,
}

/// The first and the longest delay between retries of a call to a server.
const CALL_DELAYS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

impl Backoff {
    /// Delays between retries of a call to a server; equal seeds give equal delays.
    #[must_use]
    pub fn for_calls(seed: u64) -> Self {
        let [first, cap] = CALL_DELAYS;
        Self::new(first, cap, seed)
    }

    /// Delays from `first` up to `cap`; equal seeds give equal delays.
    #[must_use]
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self { first, cap, current: first, randomness: SmallRng::seed_from_u64(seed) }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let longest = self.current.min(self.cap);
        self.current = longest.saturating_mul(2);
        longest.mul_f64(self.randomness.random_range(0.5..=1.0))
    }

    /// Restarts with the first delay. To be called after a success.
    pub fn reset(&mut self) {
        self.current = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(5);

    #[test]
    fn delays_double_up_to_the_cap_with_jitter_of_up_to_half() {
        let mut backoff = Backoff::new(FIRST, CAP, 7);
        let mut longest = FIRST;
        for _ in 0..20 {
            let delay = backoff.next_delay();
            assert!(longest / 2 <= delay && delay <= longest, "{delay:?} of {longest:?}");
            longest = (longest * 2).min(CAP);
        }
    }

    #[test]
    fn reset_starts_again() {
        let mut backoff = Backoff::new(FIRST, CAP, 7);
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }

    #[test]
    fn delays_depend_on_the_seed() {
        let delays = |seed| {
            let mut backoff = Backoff::new(FIRST, CAP, seed);
            [(); 5].map(|()| backoff.next_delay())
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
