//! When an object is tried again that could not be read for a reason that is not its own.

use std::time::Duration;

use jetline_runtime::Backoff;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// How long an object is left alone that was refused so often before, one time after another.
pub(crate) fn delay(refusals: u64, seed: u64) -> Duration {
    let doublings = u32::try_from(refusals).unwrap_or(u32::MAX);
    let first = FIRST.saturating_mul(2_u32.saturating_pow(doublings));
    Backoff::new(first, LONGEST, seed.wrapping_add(refusals)).next_delay()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_longest() {
        assert!(delay(0, 1) <= FIRST);
        assert!(delay(3, 1) >= FIRST * 4);
        assert!(delay(u64::MAX, 1) >= LONGEST / 2 && delay(u64::MAX, 1) <= LONGEST);
    }
}
