//! A steady load of requests on the API.

use std::{
    collections::BTreeMap,
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jetline_testkit::http;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::feed::IDS;

/// The interval of requests.
const REQUEST_INTERVAL: Duration = Duration::from_millis(100);

/// Longer than the API's own request timeout.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The maximum of concurrent requests; at this number none is sent.
const IN_FLIGHT: usize = 16;

/// The counts of responses.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Reads {
    /// Status 200 or 404.
    pub(super) answered: u64,
    /// Anything else, by its status or error.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Reads {
    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Sends requests until this is dropped.
pub(super) struct Readers {
    reads: Arc<Mutex<Reads>>,
    _requests: JoinSet<()>,
}

impl Readers {
    pub(super) fn start(api: SocketAddr, seed: u64) -> Self {
        let reads = Arc::<Mutex<Reads>>::default();
        let mut requests = JoinSet::new();
        requests.spawn(ask_on(api, StdRng::seed_from_u64(seed), reads.clone()));
        Self { reads, _requests: requests }
    }

    /// The counts since the last call.
    pub(super) fn take(&self) -> Reads {
        mem::take(&mut *lock(&self.reads))
    }
}

async fn ask_on(api: SocketAddr, mut randomness: StdRng, reads: Arc<Mutex<Reads>>) {
    let mut ticks = interval(REQUEST_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut in_flight = JoinSet::new();
    loop {
        ticks.tick().await;
        while in_flight.try_join_next().is_some() {}
        if in_flight.len() < IN_FLIGHT {
            let (path, reads) = (path(&mut randomness), reads.clone());
            in_flight.spawn(async move {
                let answer = timeout(TIMEOUT, http::get(api, &path, &[])).await;
                note(answer.unwrap_or_else(|elapsed| Err(elapsed.into())), &reads);
            });
        }
    }
}

fn path(randomness: &mut StdRng) -> String {
    let mut id = || randomness.random_range(1..=IDS);
    let (one, other) = (id(), id());
    match randomness.random_range(0..6) {
        0 => format!("/products?id={one}&id={other}"),
        1 => "/objects?limit=20".to_owned(),
        2 => "/rejects?limit=20".to_owned(),
        _ => format!("/products/{one}"),
    }
}

fn note(answer: anyhow::Result<http::Response>, reads: &Mutex<Reads>) {
    let mut reads = lock(reads);
    let error = match answer {
        Ok(http::Response { status: 200 | 404, .. }) => {
            reads.answered += 1;
            return;
        }
        Ok(answer) => answer.status.to_string(),
        Err(error) => format!("{error:#}"),
    };
    *reads.errors.entry(error).or_default() += 1;
}

fn lock(reads: &Mutex<Reads>) -> MutexGuard<'_, Reads> {
    reads.lock().unwrap_or_else(PoisonError::into_inner)
}
