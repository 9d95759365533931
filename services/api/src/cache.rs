//! Answers that are given again for a moment, so that ids which everybody asks for cost the database little.
//!
//! An answer is as old as the question to the database that brought it: what was committed before that, it knows. It is
//! given for a limited time after that question was *asked*, not after it was answered, so whoever asks later than that
//! after a commit gets what was committed.

use std::time::Duration;

use jetline_records::Key;
use moka::ops::compute::Op;
use tokio::time::Instant;

/// What an entry takes besides its id and its answer: its place in the table, and what the cache knows of its use.
const ENTRY_BYTES: usize = 512;

/// Answers by key, in bounded memory.
pub(crate) struct Cache<T> {
    time: Duration,
    entries: moka::sync::Cache<Key, Entry<T>>,
}

#[derive(Clone)]
struct Entry<T> {
    answer: T,
    /// Memory of the answer.
    bytes: usize,
    asked: Instant,
}

impl<T: Clone + Send + Sync + 'static> Cache<T> {
    /// Gives answers for `time` after they were asked for, never if that is 0, and takes up to `bytes` of memory.
    pub(crate) fn new(time: Duration, bytes: usize) -> Self {
        let size = |key: &Key, entry: &Entry<T>| {
            u32::try_from(of_key(key) + entry.bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let entries = moka::sync::Cache::builder()
            .max_capacity(bytes as u64)
            .weigher(size)
            .time_to_live(time)
            .build();
        Self { time, entries }
    }

    /// The answer for the key, unless it is too old `now`.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<T> {
        if self.time.is_zero() {
            return None;
        }
        let entry = self.entries.get(key)?;
        let is_fresh = now.saturating_duration_since(entry.asked) < self.time;
        is_fresh.then_some(entry.answer)
    }

    /// Keeps an answer of `bytes` to a question that the database was asked at `asked`; a later one stays.
    pub(crate) fn put(&self, key: Key, answer: T, bytes: usize, asked: Instant) {
        if self.time.is_zero() {
            return;
        }
        let new = Entry {
            answer,
            bytes,
            asked,
        };
        self.entries.entry(key).and_compute_with(|old| match old {
            Some(old) if old.value().asked > asked => Op::Nop,
            _ => Op::Put(new),
        });
    }
}

/// Memory that it takes outside of itself: whoever asks for what is not there decides how much.
fn of_key(key: &Key) -> usize {
    match key {
        Key::Int(_) => 0,
        Key::Text(id) => id.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_mins(10);

    fn cache(bytes: usize) -> (Cache<u64>, Instant) {
        (Cache::new(TIME, bytes), Instant::now())
    }

    fn kept(cache: &Cache<u64>) -> usize {
        cache.entries.run_pending_tasks();
        cache.entries.iter().count()
    }

    #[test]
    fn answer_is_given_until_its_question_is_too_old() {
        let (cache, asked) = cache(1 << 20);
        let key = Key::Int(1);
        cache.put(key.clone(), 7, 0, asked);
        // The database may have taken almost all of the time over it.
        let late = asked + TIME - Duration::from_millis(1);
        assert_eq!(cache.get(&key, late), Some(7));
        assert_eq!(cache.get(&key, asked + TIME), None);
        assert_eq!(cache.get(&Key::Int(2), asked), None);
    }

    #[test]
    fn later_question_wins_whatever_comes_first() {
        let (cache, first) = cache(1 << 20);
        let key = Key::Int(1);
        let second = first + Duration::from_millis(1);
        cache.put(key.clone(), 2, 0, second);
        cache.put(key.clone(), 1, 0, first);
        assert_eq!(cache.get(&key, second), Some(2));
        let third = second + Duration::from_millis(1);
        cache.put(key.clone(), 3, 0, third);
        assert_eq!(cache.get(&key, third), Some(3));
    }

    #[test]
    fn nothing_is_kept_where_no_time_is_given() {
        let now = Instant::now();
        let cache = Cache::new(Duration::ZERO, 1 << 20);
        cache.put(Key::Int(1), 7, 0, now);
        assert_eq!(cache.get(&Key::Int(1), now), None);
        assert_eq!(kept(&cache), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let bytes = 1 << 20;
        let (cache, now) = cache(bytes);
        for id in 0..10_000 {
            cache.put(Key::Int(id), 7, 1000, now);
        }
        let kept = kept(&cache);
        assert!(kept * 1000 <= bytes, "{kept}");
        assert!(kept * (1000 + ENTRY_BYTES) > bytes / 2, "{kept}");
    }

    #[test]
    fn ids_that_are_long_count_as_well() {
        let bytes = 1 << 20;
        let (cache, now) = cache(bytes);
        for id in 0..1000 {
            cache.put(Key::Text(format!("{id:010000}")), 7, 0, now);
        }
        assert!(kept(&cache) * 10_000 <= bytes);
    }
}
