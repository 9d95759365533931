//! A circuit breaker: after several failures in a row nothing is attempted for a while, and then one request.

use std::time::{Duration, Instant};

use rand::Rng;

/// Failures in a row after which it opens.
const FAILURES: u32 = 10;

/// How long it is open at first; the time doubles with each further failure.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// The state of a destination, as far as this process knows it.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
    open_for: Duration,
}

/// How many attempts may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// As many as other limits allow.
    Any,
    /// One, if none is under way: its outcome decides.
    One,
    /// None until then.
    NoneUntil(Instant),
}

impl Breaker {
    pub(crate) fn permission(&self, now: Instant) -> Permission {
        match self.open_until {
            None => Permission::Any,
            Some(until) if until > now => Permission::NoneUntil(until),
            Some(_) => Permission::One,
        }
    }

    /// Records an answer, whatever it says.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records that a destination was not available. Returns for how long it is open now, if this opened it.
    pub(crate) fn failed(&mut self, now: Instant, random: &mut impl Rng) -> Option<Duration> {
        self.failures += 1;
        let is_open = self.open_until.is_some_and(|until| until > now);
        if is_open || self.failures < FAILURES {
            return None;
        }
        self.open_for = (self.open_for * 2).clamp(FIRST, LONGEST);
        // Replicas do not all come back at the same moment.
        let open_for = self.open_for.mul_f64(random.random_range(0.5..1.0));
        self.open_until = Some(now + open_for);
        Some(open_for)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_closes_with_a_success() {
        let (mut breaker, mut random) = (Breaker::default(), StdRng::seed_from_u64(1));
        let mut now = Instant::now();
        for _ in 1..FAILURES {
            assert_eq!(breaker.failed(now, &mut random), None);
        }
        breaker.succeeded();
        for _ in 1..FAILURES {
            assert_eq!(breaker.failed(now, &mut random), None);
            assert_eq!(breaker.permission(now), Permission::Any);
        }
        let mut open_for = breaker.failed(now, &mut random).unwrap();
        for _ in 0..10 {
            assert!(matches!(breaker.permission(now), Permission::NoneUntil(until) if until > now));
            // Outcomes of attempts that began before.
            assert_eq!(breaker.failed(now, &mut random), None);
            now += open_for;
            assert_eq!(breaker.permission(now), Permission::One);
            open_for = breaker.failed(now, &mut random).unwrap();
            assert!(open_for <= LONGEST);
        }
        assert!(open_for > LONGEST / 2);
        now += open_for;
        breaker.succeeded();
        assert_eq!(breaker.permission(now), Permission::Any);
    }
}
