//! How long to wait before trying again.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Delays that double up to a cap, each shortened by chance by up to half, so that many waiters do not return at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    current: Duration,
    randomness: SmallRng,
}

impl Backoff {
    /// Delays from `first` to `cap`; equal seeds give equal delays.
    #[must_use]
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            first,
            cap,
            current: first,
            randomness: SmallRng::seed_from_u64(seed),
        }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let longest = self.current.min(self.cap);
        self.current = longest.saturating_mul(2);
        longest.mul_f64(self.randomness.random_range(0.5..=1.0))
    }

    /// Starts again from the first delay: to be called after a success.
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
    fn delays_double_up_to_the_cap_and_keep_at_least_half() {
        let mut backoff = Backoff::new(FIRST, CAP, 7);
        let mut longest = FIRST;
        for _ in 0..20 {
            let delay = backoff.next_delay();
            assert!(
                longest / 2 <= delay && delay <= longest,
                "{delay:?} of {longest:?}"
            );
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
    fn equal_seeds_give_equal_delays_and_others_others() {
        let delays = |seed| {
            let mut backoff = Backoff::new(FIRST, CAP, seed);
            [(); 5].map(|()| backoff.next_delay())
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
