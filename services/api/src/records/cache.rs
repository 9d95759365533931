//! A cache for a short time, so that ids that are requested very often do not load the database.
//!
//! The age of an entry counts from the start of its query: all commits before that are visible in it. An entry is
//! served for a limited time after its query was *sent*, not after it was answered, so that every commit is visible to
//! requests that come later than that time after it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jetline_core::Key;
use tokio::time::Instant;

/// Memory overhead of an entry, besides its id and its value: the hash table and the usage statistics of the cache.
const ENTRY_BYTES: usize = 512;

/// Values by key, in bounded memory.
pub(crate) struct Cache<T> {
    time: Duration,
    entries: moka::sync::Cache<Key, Entry<T>>,
    /// Held while an entry is compared and replaced. That costs less than the cache's own lock for each key.
    puts: Mutex<()>,
}

#[derive(Clone)]
struct Entry<T> {
    value: T,
    /// Memory of the value.
    bytes: usize,
    queried: Instant,
}

impl<T: Clone + Send + Sync + 'static> Cache<T> {
    /// Serves values for `time` after their query was sent, none if it is 0, and uses up to `bytes` of memory.
    pub(crate) fn new(time: Duration, bytes: usize) -> Self {
        let size = |key: &Key, entry: &Entry<T>| {
            u32::try_from(of_key(key) + entry.bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let entries = moka::sync::Cache::builder()
            .max_capacity(bytes as u64)
            .weigher(size)
            .time_to_live(time)
            .build();
        Self { time, entries, puts: Mutex::default() }
    }

    /// The value for the key, unless it is too old at the time `now`.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<T> {
        if self.time.is_zero() {
            return None;
        }
        let entry = self.entries.get(key)?;
        let is_fresh = now.saturating_duration_since(entry.queried) < self.time;
        is_fresh.then_some(entry.value)
    }

    /// Stores a value of `bytes`, whose query was sent at `queried`, unless there is one of a later query.
    pub(crate) fn put(&self, key: Key, value: T, bytes: usize, queried: Instant) {
        if self.time.is_zero() {
            return;
        }
        let _put = self.puts.lock().unwrap_or_else(PoisonError::into_inner);
        if self.entries.get(&key).is_none_or(|old| old.queried <= queried) {
            self.entries.insert(key, Entry { value, bytes, queried });
        }
    }
}

/// Heap memory of a key. Clients determine it, as ids without a record are cached too.
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

    fn len(cache: &Cache<u64>) -> usize {
        cache.entries.run_pending_tasks();
        cache.entries.iter().count()
    }

    #[test]
    fn value_is_served_until_its_query_is_too_old() {
        let (cache, queried) = cache(1 << 20);
        let key = Key::Int(1);
        cache.put(key.clone(), 7, 0, queried);
        // The query may have taken almost all of the time.
        let late = queried + TIME - Duration::from_millis(1);
        assert_eq!(cache.get(&key, late), Some(7));
        assert_eq!(cache.get(&key, queried + TIME), None);
        assert_eq!(cache.get(&Key::Int(2), queried), None);
    }

    #[test]
    fn later_query_wins_whatever_is_stored_first() {
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
    fn nothing_is_cached_for_a_time_of_zero() {
        let now = Instant::now();
        let cache = Cache::new(Duration::ZERO, 1 << 20);
        cache.put(Key::Int(1), 7, 0, now);
        assert_eq!(cache.get(&Key::Int(1), now), None);
        assert_eq!(len(&cache), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let bytes = 1 << 20;
        let (cache, now) = cache(bytes);
        for id in 0..10_000 {
            cache.put(Key::Int(id), 7, 1000, now);
        }
        let len = len(&cache);
        assert!(len * 1000 <= bytes, "{len}");
        assert!(len * (1000 + ENTRY_BYTES) > bytes / 2, "{len}");
    }

    #[test]
    fn long_ids_count_as_well() {
        let bytes = 1 << 20;
        let (cache, now) = cache(bytes);
        for id in 0..1000 {
            cache.put(Key::Text(format!("{id:010000}")), 7, 0, now);
        }
        assert!(len(&cache) * 10_000 <= bytes);
    }
}
