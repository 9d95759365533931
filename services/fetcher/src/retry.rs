//! The delay before an object is retried whose read was refused.

use std::time::Duration;

use jetline_runtime::Backoff;

const INITIAL_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_mins(1);

/// The delay after a further refusal, when there were `refusals` before it in a row.
pub(crate) fn delay(refusals: u64, seed: u64) -> Duration {
    let doublings = u32::try_from(refusals).unwrap_or(u32::MAX);
    let first = INITIAL_DELAY.saturating_mul(2_u32.saturating_pow(doublings));
    Backoff::new(first, MAX_DELAY, seed.wrapping_add(refusals)).next_delay()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_maximum() {
        assert!(delay(0, 1) <= INITIAL_DELAY);
        assert!(delay(3, 1) >= INITIAL_DELAY * 4);
        assert!(delay(u64::MAX, 1) >= MAX_DELAY / 2 && delay(u64::MAX, 1) <= MAX_DELAY);
    }
}
