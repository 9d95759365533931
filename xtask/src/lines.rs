//! Which product stands in which line.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An id and which of its revisions.
pub(crate) type Line = (u64, u32);

/// The lines of all files: every id from 1 on once, in order, evenly among repetitions of ids that came before. Every
/// other repetition is a new revision, the rest say what was said.
pub(crate) struct Lines {
    count: u64,
    ids: u64,
    written: u64,
    revisions: Vec<u32>,
    randomness: ChaCha8Rng,
    unrepeated: Option<u64>,
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
            unrepeated: None,
        }
    }

    /// Leaves an id above 1 with a single line.
    pub(crate) fn without_repeating(self, id: u64) -> Self {
        Self {
            unrepeated: Some(id),
            ..self
        }
    }

    /// The last revision of every id, in the order of ids.
    pub(crate) fn last_revisions(mut self) -> Vec<u32> {
        self.by_ref().for_each(drop);
        self.revisions
    }

    fn repetition(&mut self) -> Line {
        let introduced = self.revisions.len() as u64;
        let mut id = self.randomness.random_range(1..=introduced);
        if Some(id) == self.unrepeated {
            id = 1;
        }
        let Some(revision) = usize::try_from(id - 1)
            .ok()
            .and_then(|at| self.revisions.get_mut(at))
        else {
            return (id, 0);
        };
        *revision += u32::from(self.randomness.random_bool(0.5));
        (id, *revision)
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.written == self.count {
            return None;
        }
        self.written += 1;
        // Rounded up: the first line has nothing to repeat.
        let due = (self.written * self.ids).div_ceil(self.count);
        if due > self.revisions.len() as u64 {
            self.revisions.push(0);
            return Some((self.revisions.len() as u64, 0));
        }
        Some(self.repetition())
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
    fn repetitions_are_unchanged_and_changed() {
        let mut last = BTreeMap::new();
        let (mut changed, mut unchanged) = (0, 0);
        for (id, revision) in Lines::new(10_000, 8_000, 1) {
            match last.insert(id, revision) {
                Some(before) if before == revision => unchanged += 1,
                Some(before) => {
                    assert_eq!(revision, before + 1);
                    changed += 1;
                }
                None => assert_eq!(revision, 0),
            }
        }
        assert_eq!(changed + unchanged, 2_000);
        assert!(changed > 900 && unchanged > 900);
    }

    #[test]
    fn one_id_can_be_left_alone() {
        let lines = Lines::new(5_000, 50, 1).without_repeating(42);
        assert_eq!(lines.filter(|(id, _)| *id == 42).count(), 1);
    }
}
