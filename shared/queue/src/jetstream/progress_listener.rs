//! Detects whether any receiver, of any process, acknowledges or reports progress.
//!
//! Acknowledgements are ordinary messages, which every subscriber of their subject receives. So an idle receiver sees
//! whether others work on the stream's messages, without relying on the server's counts, which may be wrong.

use async_nats::Subscriber;
use futures::StreamExt;
use tokio::{sync::watch, task::AbortHandle};

use super::{broker::Broker, consumer};
use crate::Error;

const ACTION: &str = "listen for acknowledgements";

/// A message that every listener sends to itself, to verify that the subscription works. Servers ignore unknown
/// acknowledgements.
const PROBE: &[u8] = b"?";

/// The activity in a period. If subjects differ, the greater value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Activity {
    /// No receiver reported anything.
    Idle,
    /// Acknowledgements cannot be received, or not yet.
    Unknown,
    /// A receiver acknowledged or reported progress.
    Active,
}

/// Listens on both forms of the subject.
pub(super) struct ProgressListener([Subscription; 2]);

impl ProgressListener {
    pub(super) async fn start(broker: &Broker) -> Result<Self, Error> {
        let [short, long] = subjects(&broker.config.nats_stream);
        Ok(Self([
            Subscription::start(broker, &short).await?,
            Subscription::start(broker, &long).await?,
        ]))
    }

    /// The activity since the start.
    pub(super) fn activity(&self) -> Activity {
        let [short, long] = &self.0;
        short.activity().max(long.activity())
    }
}

/// The prefixes of acknowledgement subjects. NATS 2.14 and later can add the domain and the account
/// (`js_ack_fc_v2`).
fn subjects(stream: &str) -> [String; 2] {
    ["$JS.ACK", "$JS.ACK.*.*"].map(|prefix| format!("{prefix}.{stream}.{}", consumer::NAME))
}

/// Listens on one subject until there is activity.
struct Subscription {
    activity: watch::Receiver<Activity>,
    task: AbortHandle,
}

impl Subscription {
    async fn start(broker: &Broker, subject: &str) -> Result<Self, Error> {
        let unavailable = |error: async_nats::Error| broker.connection.unavailable(ACTION, error);
        let client = &broker.connection.client;
        let acks = client
            .subscribe(format!("{subject}.>"))
            .await
            .map_err(|error| unavailable(error.into()))?;
        client
            .publish(format!("{}.probe", subject.replace('*', "-")), PROBE.into())
            .await
            .map_err(|error| unavailable(error.into()))?;
        let (sender, activity) = watch::channel(Activity::Unknown);
        let task = tokio::spawn(listen(acks, sender)).abort_handle();
        Ok(Self { activity, task })
    }

    fn activity(&self) -> Activity {
        *self.activity.borrow()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Probes are not activity: every idle receiver sends them.
async fn listen(mut acks: Subscriber, activity: watch::Sender<Activity>) {
    while let Some(message) = acks.next().await {
        if message.payload != PROBE {
            activity.send_replace(Activity::Active);
            return;
        }
        activity.send_replace(Activity::Idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_subject_are_covered() {
        let all = subjects("JETLINE");
        assert_eq!(all, ["$JS.ACK.JETLINE.writers", "$JS.ACK.*.*.JETLINE.writers"]);
    }

    #[test]
    fn activity_in_one_form_counts() {
        assert_eq!(Activity::Active.max(Activity::Idle), Activity::Active);
        assert_eq!(Activity::Active.max(Activity::Unknown), Activity::Active);
        assert_eq!(Activity::Unknown.max(Activity::Idle), Activity::Unknown);
    }
}
