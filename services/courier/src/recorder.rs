//! Records the outcomes of attempts to deliver to a destination.

use std::{sync::Arc, time::Duration};

use jetline_runtime::{
    Backoff,
    metrics::{DELIVERY_ATTEMPTS, RETRIES},
};
use jetline_store::{
    Error, Outbox,
    outbox::{Attempt, AttemptOutcome},
};
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};

use crate::target::Target;

/// Maximum number of outcomes that are recorded together.
pub(crate) const RECORDED_TOGETHER: usize = 500;

/// An attempt with its outcome.
pub(crate) type EndedAttempt = (Attempt, AttemptOutcome);

/// Records outcomes.
pub(crate) struct Recorder {
    pub(crate) target: Arc<Target>,
    pub(crate) outbox: Outbox,
    /// Is notified after outcomes were recorded: the next attempts may be due.
    pub(crate) progress: Arc<Notify>,
}

impl Recorder {
    /// Records outcomes, until all senders are dropped. While the database is not available, they are kept.
    pub(crate) async fn run(self, mut ended: mpsc::Receiver<EndedAttempt>) {
        let mut outcomes = Vec::with_capacity(RECORDED_TOGETHER);
        self.create_counters();
        let mut backoff = Backoff::for_calls(rand::random());
        while ended.recv_many(&mut outcomes, RECORDED_TOGETHER).await > 0 {
            let valid = loop {
                match self.outbox.record(&self.target.destination, &outcomes).await {
                    Ok(valid) => break valid,
                    Err(error) => {
                        let delay = backoff.next_delay();
                        report_retry(&self.target, &error, "record deliveries", delay);
                        sleep(delay).await;
                    }
                }
            };
            backoff.reset();
            for ((attempt, outcome), is_valid) in outcomes.drain(..).zip(valid) {
                self.count(&attempt, &outcome, is_valid);
            }
            self.progress.notify_one();
        }
    }

    fn count(&self, attempt: &Attempt, outcome: &AttemptOutcome, is_valid: bool) {
        let [dataset, destination] = self.target.labels();
        let name = match outcome {
            AttemptOutcome::Delivered { .. } => "delivered",
            AttemptOutcome::Retry { .. } => "failed",
            AttemptOutcome::Dead { .. } => "dead",
            AttemptOutcome::Released { .. } => "released",
        };
        metrics::counter!(DELIVERY_ATTEMPTS, &[dataset, destination, ("outcome", name.to_owned())])
            .increment(1);
        let Attempt { key, number, .. } = attempt;
        let target = &self.target;
        match outcome {
            AttemptOutcome::Dead { error, .. } => {
                tracing::error!(destination = %target, key, attempt = number, error, "delivery dead-lettered");
            }
            AttemptOutcome::Retry { error, after, .. } => {
                tracing::debug!(destination = %target, key, attempt = number, error, after_ms = jetline_runtime::millis(*after), "delivery failed, will retry");
            }
            _ => {}
        }
        if !is_valid {
            tracing::warn!(destination = %target, key, attempt = number, "lease expired before the outcome was recorded");
        }
    }

    /// Creates the counters: an alert sees the first event of one.
    fn create_counters(&self) {
        for outcome in ["delivered", "failed", "dead", "released"] {
            let [dataset, destination] = self.target.labels();
            let labels = [dataset, destination, ("outcome", outcome.to_owned())];
            metrics::counter!(DELIVERY_ATTEMPTS, &labels).increment(0);
        }
    }
}

/// Reports an error of the database after which an operation is retried.
pub(crate) fn report_retry(
    target: &Target,
    error: &Error,
    operation: &'static str,
    delay: Duration,
) {
    metrics::counter!(RETRIES, "part" => "database").increment(1);
    let error = jetline_runtime::causes(error);
    tracing::warn!(destination = %target, operation, error, delay_ms = jetline_runtime::millis(delay), "operation failed, will retry");
}
