//! Whether any receiver, of any process, acknowledges or reports progress.
//!
//! Acknowledgements are ordinary messages, which the server also gives to whoever subscribes to their subject. So an idle
//! receiver learns whether others work on what the stream holds, without asking the server, whose word is in doubt.

use async_nats::Subscriber;
use futures::StreamExt;
use tokio::{sync::watch, task::AbortHandle};

use super::{broker::Broker, consumer};
use crate::Error;

const ACTION: &str = "listen for acknowledgements";

/// What every listener sends to itself, and so to the others: where it does not arrive, nothing else would. Servers ignore
/// acknowledgements that they do not know.
const PROBE: &[u8] = b"?";

/// What was heard in some time. The last one counts where subjects differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nobody works.
    Silence,
    /// Acknowledgements cannot be heard, or not yet: nothing can be concluded.
    Nothing,
    /// Somebody works.
    Work,
}

/// Listens from its beginning on, to both forms of the subject.
pub(super) struct Hearing([Listener; 2]);

impl Hearing {
    pub(super) async fn begin(broker: &Broker) -> Result<Self, Error> {
        let [short, long] = subjects(&broker.config.nats_stream);
        Ok(Self([
            Listener::start(broker, &short).await?,
            Listener::start(broker, &long).await?,
        ]))
    }

    /// What was heard since the beginning.
    pub(super) fn end(&self) -> Heard {
        let [short, long] = &self.0;
        short.heard().max(long.heard())
    }
}

/// What acknowledgements begin with. NATS 2.14 and later can put the domain and the account before the stream
/// (`js_ack_fc_v2`).
fn subjects(stream: &str) -> [String; 2] {
    ["$JS.ACK", "$JS.ACK.*.*"].map(|prefix| format!("{prefix}.{stream}.{}", consumer::NAME))
}

/// Listens to one subject until work is heard.
struct Listener {
    heard: watch::Receiver<Heard>,
    task: AbortHandle,
}

impl Listener {
    async fn start(broker: &Broker, subject: &str) -> Result<Self, Error> {
        let unavailable = |error: async_nats::Error| broker.link.unavailable(ACTION, error);
        let client = &broker.link.client;
        let acks = client
            .subscribe(format!("{subject}.>"))
            .await
            .map_err(|error| unavailable(error.into()))?;
        client
            .publish(format!("{}.probe", subject.replace('*', "-")), PROBE.into())
            .await
            .map_err(|error| unavailable(error.into()))?;
        let (sender, heard) = watch::channel(Heard::Nothing);
        let task = tokio::spawn(listen(acks, sender)).abort_handle();
        Ok(Self { heard, task })
    }

    fn heard(&self) -> Heard {
        *self.heard.borrow()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every idle receiver sends probes, so they are no reason to stop.
async fn listen(mut acks: Subscriber, heard: watch::Sender<Heard>) {
    while let Some(message) = acks.next().await {
        if message.payload != PROBE {
            heard.send_replace(Heard::Work);
            return;
        }
        heard.send_replace(Heard::Silence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_heard_in_both_forms() {
        let all = subjects("JETLINE");
        assert_eq!(
            all,
            ["$JS.ACK.JETLINE.writers", "$JS.ACK.*.*.JETLINE.writers"]
        );
    }

    #[test]
    fn work_that_is_heard_in_one_form_counts() {
        assert_eq!(Heard::Work.max(Heard::Silence), Heard::Work);
        assert_eq!(Heard::Work.max(Heard::Nothing), Heard::Work);
        assert_eq!(Heard::Nothing.max(Heard::Silence), Heard::Nothing);
    }
}
