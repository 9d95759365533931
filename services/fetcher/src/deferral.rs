//! Delays the registration of the next version of an object whose last version could not be read to its end.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jetline_runtime::Backoff;
use tokio::time::Instant;

const INITIAL_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_mins(5);

/// How many successive versions of an object are tried in a run without `WATCH`.
const MAX_VERSIONS: u32 = 5;

/// An object of which no further version failed for so long is forgotten.
const EXPIRY: Duration = Duration::from_hours(1);

/// The objects of which versions failed, by URI.
pub(crate) struct Deferrals {
    /// Whether the run ends when every object is settled.
    without_watch: bool,
    objects: Mutex<HashMap<String, Object>>,
}

struct Object {
    failed: u32,
    backoff: Backoff,
    /// When a new version is registered at the earliest; `None` for never in this run.
    earliest: Option<Instant>,
    /// Whether the sources were listed since then, or need not be.
    listed_since_earliest: bool,
}

impl Deferrals {
    pub(crate) fn new(without_watch: bool) -> Self {
        Self { without_watch, objects: Mutex::default() }
    }

    /// Records that a version could not be read to its end. Only if it was overwritten or deleted meanwhile, a run with `WATCH`
    /// lists the sources earlier for the next one.
    pub(crate) fn on_failed(&self, uri: &str, is_changed: bool, seed: u64) {
        let now = Instant::now();
        let mut objects = self.lock();
        objects.retain(|_, object| object.earliest.is_none_or(|at| at + EXPIRY > now));
        let object = objects.entry(uri.to_owned()).or_insert_with(|| Object {
            failed: 0,
            backoff: Backoff::new(INITIAL_DELAY, MAX_DELAY, seed),
            earliest: None,
            listed_since_earliest: false,
        });
        object.failed += 1;
        object.listed_since_earliest = !is_changed && !self.without_watch;
        let is_tried = !self.without_watch || object.failed < MAX_VERSIONS;
        object.earliest = is_tried.then(|| now + object.backoff.next_delay());
        if !is_tried {
            tracing::warn!(
                uri,
                versions = object.failed,
                "no version of the object could be read to its end, further ones are not registered in this run"
            );
        }
    }

    /// Records that a version was read to its end.
    pub(crate) fn on_read(&self, uri: &str) {
        self.lock().remove(uri);
    }

    /// Whether registration of a new version must wait.
    pub(crate) fn defers(&self, uri: &str) -> bool {
        let objects = self.lock();
        objects.get(uri).is_some_and(|object| object.earliest.is_none_or(|at| at > Instant::now()))
    }

    /// When the sources must be listed again because a delay ends.
    pub(crate) fn next_listing(&self) -> Option<Instant> {
        let objects = self.lock();
        let waiting = objects.values().filter(|object| !object.listed_since_earliest);
        waiting.filter_map(|object| object.earliest).min()
    }

    /// Records that the sources were listed, with or without success, by a call that began at `began`.
    pub(crate) fn on_listed(&self, began: Instant) {
        for object in self.lock().values_mut() {
            object.listed_since_earliest |= object.earliest.is_some_and(|at| at <= began);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delay_grows_with_each_failed_version_and_a_run_without_watch_stops_retrying() {
        for without_watch in [true, false] {
            let changing = Deferrals::new(without_watch);
            let mut waits = Vec::new();
            for _ in 1..MAX_VERSIONS {
                changing.on_failed("a", true, 1);
                assert!(changing.defers("a") && !changing.defers("b"));
                let due = changing.next_listing().unwrap();
                waits.push(due - Instant::now());
                tokio::time::sleep_until(due).await;
                assert!(!changing.defers("a"));
                changing.on_listed(Instant::now());
                assert_eq!(changing.next_listing(), None);
            }
            assert!(waits.last().unwrap() > &(waits[0] * 2), "{waits:?}");
            changing.on_failed("a", true, 1);
            assert_eq!(changing.next_listing().is_none(), without_watch);
            assert!(changing.defers("a"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn object_that_was_read_or_no_longer_fails_is_forgotten() {
        let changing = Deferrals::new(false);
        changing.on_failed("a", true, 1);
        changing.on_read("a");
        assert!(changing.next_listing().is_none() && !changing.defers("a"));
        changing.on_failed("b", true, 1);
        tokio::time::sleep(EXPIRY * 2).await;
        changing.on_failed("c", true, 1);
        assert_eq!(changing.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn damaged_object_has_the_sources_listed_earlier_only_in_a_run_without_watch() {
        for without_watch in [true, false] {
            let deferrals = Deferrals::new(without_watch);
            deferrals.on_failed("a", false, 1);
            assert_eq!(deferrals.next_listing().is_some(), without_watch);
            assert!(deferrals.defers("a"));
            deferrals.on_failed("a", true, 1);
            assert!(deferrals.next_listing().is_some());
        }
    }
}
