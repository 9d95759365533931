//! Objects that could not be read to their ends: there may be new versions of them, which are looked for after delays
//! that grow while it happens again and again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jetline_runtime::Backoff;
use tokio::time::Instant;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_mins(5);

/// How many versions of an object, one after another, a run that is to end tries to read.
const VERSIONS: u32 = 5;

/// How long an object is remembered that was not seen to change again.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The objects of which versions failed, by address.
pub(crate) struct Changing {
    /// Whether the run ends when everything else has.
    ends: bool,
    objects: Mutex<HashMap<String, Object>>,
}

struct Object {
    failed: u32,
    backoff: Backoff,
    /// From when on a new version is registered; `None` for never in this run.
    again: Option<Instant>,
    /// Whether the source was listed since then.
    listed: bool,
}

impl Changing {
    pub(crate) fn new(ends: bool) -> Self {
        Self {
            ends,
            objects: Mutex::default(),
        }
    }

    /// A version could not be read to its end.
    pub(crate) fn failed(&self, uri: &str, seed: u64) {
        let now = Instant::now();
        let mut objects = self.lock();
        objects.retain(|_, object| object.again.is_none_or(|at| at + REMEMBERED > now));
        let object = objects.entry(uri.to_owned()).or_insert_with(|| Object {
            failed: 0,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY, seed),
            again: None,
            listed: false,
        });
        object.failed += 1;
        object.listed = false;
        let is_tried = !self.ends || object.failed < VERSIONS;
        object.again = is_tried.then(|| now + object.backoff.next_delay());
        if !is_tried {
            tracing::warn!(
                uri,
                versions = object.failed,
                "the object changes whenever it is read: this run ends without it"
            );
        }
    }

    /// A version was read to its end.
    pub(crate) fn read(&self, uri: &str) {
        self.lock().remove(uri);
    }

    /// Whether a new version of an object is not registered yet.
    pub(crate) fn hides(&self, uri: &str) -> bool {
        let objects = self.lock();
        objects
            .get(uri)
            .is_some_and(|object| object.again.is_none_or(|at| at > Instant::now()))
    }

    /// When the sources are to be listed for the next of them.
    pub(crate) fn due(&self) -> Option<Instant> {
        let objects = self.lock();
        let waiting = objects.values().filter(|object| !object.listed);
        waiting.filter_map(|object| object.again).min()
    }

    /// The sources were listed, or could not be, by somebody who began then.
    pub(crate) fn listed(&self, began: Instant) {
        for object in self.lock().values_mut() {
            object.listed |= object.again.is_some_and(|at| at <= began);
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
    async fn new_versions_wait_longer_each_time_and_a_run_that_ends_gives_up() {
        for ends in [true, false] {
            let changing = Changing::new(ends);
            let mut waits = Vec::new();
            for _ in 1..VERSIONS {
                changing.failed("a", 1);
                assert!(changing.hides("a") && !changing.hides("b"));
                let due = changing.due().unwrap();
                waits.push(due - Instant::now());
                tokio::time::sleep_until(due).await;
                assert!(!changing.hides("a"));
                changing.listed(Instant::now());
                assert_eq!(changing.due(), None);
            }
            assert!(waits.last().unwrap() > &(waits[0] * 2), "{waits:?}");
            changing.failed("a", 1);
            assert_eq!(changing.due().is_none(), ends);
            assert!(changing.hides("a"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn object_that_is_read_begins_anew_and_one_that_is_quiet_is_forgotten() {
        let changing = Changing::new(false);
        changing.failed("a", 1);
        changing.read("a");
        assert!(changing.due().is_none() && !changing.hides("a"));
        changing.failed("b", 1);
        tokio::time::sleep(REMEMBERED * 2).await;
        changing.failed("c", 1);
        assert_eq!(changing.lock().len(), 1);
    }
}
