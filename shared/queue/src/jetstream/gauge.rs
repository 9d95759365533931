//! The gauge of the stream's chunks, while this process consumes.
//!
//! In a task of its own: while a writer waits for its database it receives nothing, and the queue grows.

use std::{sync::Arc, time::Duration};

use jetline_runtime::metrics::QUEUE_CHUNKS;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use super::broker::Broker;

/// How often the server is polled.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// The polling task; ends when this is dropped.
pub(super) struct Gauge(JoinHandle<()>);

impl Gauge {
    pub(super) fn start(broker: &Arc<Broker>) -> Self {
        Self(tokio::spawn(poll(Arc::clone(broker))))
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn poll(broker: Arc<Broker>) {
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match broker.state().await {
            Ok(state) => {
                let (messages, in_flight) =
                    state.map_or((0, 0), |state| (state.messages, state.in_flight as u64));
                set("waiting", messages.saturating_sub(in_flight));
                set("in_flight", in_flight);
            }
            Err(error) => debug!(%error, "read stream state failed"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn set(state: &'static str, chunks: u64) {
    metrics::gauge!(QUEUE_CHUNKS, "state" => state).set(chunks as f64);
}
