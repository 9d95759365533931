//! Shows, while this process consumes, how many chunks the stream holds.
//!
//! In a task of its own: a writer that waits for its database receives nothing, and that is when the queue grows.

use std::{sync::Arc, time::Duration};

use jetline_runtime::metrics::QUEUE_CHUNKS;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use super::broker::Broker;

/// How often the server is asked.
const EVERY: Duration = Duration::from_secs(3);

/// Ends with its owner.
pub(super) struct Gauge(JoinHandle<()>);

impl Gauge {
    pub(super) fn start(broker: &Arc<Broker>) -> Self {
        Self(tokio::spawn(show(Arc::clone(broker))))
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn show(broker: Arc<Broker>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match broker.holdings().await {
            Ok(holdings) => {
                let (messages, in_flight) = holdings.map_or((0, 0), |holdings| {
                    (holdings.messages, holdings.in_flight as u64)
                });
                set("waiting", messages.saturating_sub(in_flight));
                set("in_flight", in_flight);
            }
            Err(error) => debug!(%error, "the queue does not say what it holds"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn set(state: &'static str, chunks: u64) {
    metrics::gauge!(QUEUE_CHUNKS, "state" => state).set(chunks as f64);
}
