//! Answers that are given again for a moment, so that ids which everybody asks for cost the database little.
//!
//! An answer is as old as the question to the database that brought it: what was committed before that, it knows. It is
//! given for a limited time after that question was *asked*, not after it was answered, so whoever asks later than that
//! after a commit gets what was committed.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jetline_records::Key;
use tokio::time::Instant;

/// Parts with a lock each, so that threads seldom meet at one.
const SHARDS: usize = 16;

/// What an entry takes besides its key and its answer: its place in the map, which grows by doubling, and two allocations.
const ENTRY_BYTES: usize = 256;

/// Answers by key, in bounded memory.
pub(crate) struct Cache<T> {
    time: Duration,
    /// Of a generation of a shard.
    bytes: usize,
    shards: Box<[Mutex<Shard<T>>]>,
    hasher: RandomState,
}

/// Two generations: when the young one is full, or as old as any entry may become, it takes the place of the old one, which
/// is forgotten as a whole. That costs nothing for each entry, and what is asked for now is never forgotten before
/// what was asked for long ago.
struct Shard<T> {
    young: Generation<T>,
    old: Generation<T>,
    begin: Instant,
}

struct Generation<T> {
    entries: HashMap<Key, Entry<T>>,
    bytes: usize,
}

struct Entry<T> {
    answer: T,
    asked: Instant,
}

impl<T: Clone> Cache<T> {
    /// Gives answers for `time` after they were asked for, never if that is 0, and takes up to `bytes` of memory.
    pub(crate) fn new(time: Duration, bytes: usize, now: Instant) -> Self {
        let shard = || {
            Mutex::new(Shard {
                young: Generation::new(),
                old: Generation::new(),
                begin: now,
            })
        };
        Self {
            time,
            bytes: bytes / SHARDS / 2,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The answer for the key, unless it is too old `now`.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<T> {
        if self.time.is_zero() {
            return None;
        }
        let shard = self.shard(key);
        let entry = shard.entry(key)?;
        let is_fresh = now.saturating_duration_since(entry.asked) < self.time;
        is_fresh.then(|| entry.answer.clone())
    }

    /// Keeps an answer of `bytes` to a question that the database was asked at `asked`; a later one stays.
    pub(crate) fn put(&self, key: Key, answer: T, bytes: usize, asked: Instant, now: Instant) {
        let bytes = bytes + of_key(&key) + ENTRY_BYTES;
        if self.time.is_zero() || bytes > self.bytes {
            return;
        }
        let mut shard = self.shard(&key);
        if shard.entry(&key).is_some_and(|entry| entry.asked > asked) {
            return;
        }
        let age = now.saturating_duration_since(shard.begin);
        if shard.young.bytes + bytes > self.bytes || age >= self.time {
            shard.old = mem::replace(&mut shard.young, Generation::new());
            shard.begin = now;
        }
        // An entry that is replaced counts until its generation is forgotten: the sum is never too small.
        shard.young.bytes += bytes;
        shard.young.entries.insert(key, Entry { answer, asked });
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard<T>> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let at = self.hasher.hash_one(key) as usize % self.shards.len();
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Shard<T> {
    fn entry(&self, key: &Key) -> Option<&Entry<T>> {
        let young = self.young.entries.get(key);
        young.or_else(|| self.old.entries.get(key))
    }
}

impl<T> Generation<T> {
    fn new() -> Self {
        Self {
            entries: HashMap::new(),
            bytes: 0,
        }
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

    const TIME: Duration = Duration::from_millis(500);

    fn cache(bytes: usize) -> (Cache<u64>, Instant) {
        let now = Instant::now();
        (Cache::new(TIME, bytes, now), now)
    }

    #[test]
    fn answer_is_given_until_its_question_is_too_old() {
        let (cache, asked) = cache(1 << 20);
        let key = Key::Int(1);
        // The database took almost all of the time over it.
        let answered = asked + TIME - Duration::from_millis(1);
        cache.put(key.clone(), 7, 0, asked, answered);
        assert_eq!(cache.get(&key, answered), Some(7));
        assert_eq!(cache.get(&key, asked + TIME), None);
        assert_eq!(cache.get(&Key::Int(2), answered), None);
    }

    #[test]
    fn later_question_wins_whatever_comes_first() {
        let (cache, first) = cache(1 << 20);
        let key = Key::Int(1);
        let second = first + Duration::from_millis(1);
        cache.put(key.clone(), 2, 0, second, second);
        cache.put(key.clone(), 1, 0, first, second);
        assert_eq!(cache.get(&key, second), Some(2));
        let third = second + Duration::from_millis(1);
        cache.put(key.clone(), 3, 0, third, third);
        assert_eq!(cache.get(&key, third), Some(3));
    }

    #[test]
    fn nothing_is_kept_where_no_time_is_given() {
        let now = Instant::now();
        let cache = Cache::new(Duration::ZERO, 1 << 20, now);
        cache.put(Key::Int(1), 7, 0, now, now);
        assert_eq!(cache.get(&Key::Int(1), now), None);
    }

    #[test]
    fn memory_is_bounded_and_the_latest_stay() {
        let bytes = 1 << 20;
        let (cache, now) = cache(bytes);
        let answer_bytes = 1000;
        let ids = 10_000;
        for id in 0..ids {
            cache.put(Key::Int(id), 7, answer_bytes, now, now);
        }
        let kept: Vec<i64> = (0..ids)
            .filter(|id| cache.get(&Key::Int(*id), now).is_some())
            .collect();
        assert!(kept.len() * (answer_bytes + ENTRY_BYTES) <= bytes);
        assert!(kept.len() * (answer_bytes + ENTRY_BYTES) > bytes / 3);
        assert_eq!(kept.last(), Some(&(ids - 1)));
        cache.put(Key::Int(ids), 7, bytes, now, now);
        assert_eq!(cache.get(&Key::Int(ids), now), None);
    }

    #[test]
    fn ids_that_are_long_count_as_well() {
        let bytes = 1 << 20;
        let (cache, now) = cache(bytes);
        let key = |id: usize| Key::Text(format!("{id:010000}"));
        for id in 0..1000 {
            cache.put(key(id), 7, 0, now, now);
        }
        let kept = (0..1000).filter(|id| cache.get(&key(*id), now).is_some());
        assert!(kept.count() * 10_000 <= bytes);
    }

    #[test]
    fn what_is_put_again_does_not_pile_up() {
        let (cache, mut now) = cache(1 << 20);
        for _ in 0..100_000 {
            now += Duration::from_millis(1);
            cache.put(Key::Int(1), 7, 1000, now, now);
            assert_eq!(cache.get(&Key::Int(1), now), Some(7));
        }
        let entries = cache.shards.iter().map(|shard| {
            let shard = shard.lock().unwrap();
            shard.young.entries.len() + shard.old.entries.len()
        });
        assert!(entries.sum::<usize>() <= 2);
    }
}
