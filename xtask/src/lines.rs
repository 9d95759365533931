//! Which product stands in which line.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An id and which of its revisions.
pub(crate) type Line = (u64, u32);

/// The lines of all files: every id from 1 on once, in order, evenly among repetitions of ids that came before. Every
/// other repetition is a new revision, the rest repeat the latest one.
pub(crate) struct Lines {
    count: u64,
    ids: u64,
    written: u64,
    revisions: Vec<u32>,
    randomness: ChaCha8Rng,
}

impl Lines {
    /// As many lines and ids as given: at least as many lines as ids, and at least one of each.
    pub(crate) fn new(lines: u64, ids: u64, seed: u64) -> Self {
        Self {
            count: lines,
            ids,
            written: 0,
            revisions: Vec::new(),
            randomness: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// The last revision of every id, in the order of ids.
    pub(crate) fn last_revisions(mut self) -> Vec<u32> {
        self.by_ref().for_each(drop);
        self.revisions
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.written == self.count {
            return None;
        }
        self.written += 1;
        let introduced = self.revisions.len() as u64;
        // Rounded up: the first line has nothing to repeat.
        if (self.written * self.ids).div_ceil(self.count) > introduced {
            self.revisions.push(0);
            return Some((introduced + 1, 0));
        }
        let id = self.randomness.random_range(1..=introduced);
        let revision = self.revisions.get_mut(usize::try_from(id - 1).ok()?)?;
        *revision += u32::from(self.randomness.random_bool(0.5));
        Some((id, *revision))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn lines_hold_exactly_the_ids_asked_for() {
        for (lines, ids) in [(1, 1), (10, 10), (1000, 800), (1000, 1), (997, 13)] {
            let all: Vec<Line> = Lines::new(lines, ids, 1).collect();
            let seen: BTreeMap<u64, u32> = all.iter().copied().collect();
            assert_eq!(all.len() as u64, lines);
            assert_eq!(seen.len() as u64, ids);
            assert_eq!(seen.keys().next_back(), Some(&ids));
            let last: Vec<u32> = seen.into_values().collect();
            assert_eq!(Lines::new(lines, ids, 1).last_revisions(), last);
        }
    }

    #[test]
    fn half_of_the_repetitions_change_something() {
        let changed: u32 = Lines::new(10_000, 8_000, 1).last_revisions().iter().sum();
        assert!((900..=1100).contains(&changed), "{changed}");
    }
}
