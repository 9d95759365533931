//! Whether any receiver, of any process, acknowledges or reports progress.
//!
//! Acknowledgements are ordinary messages, which the server also gives to whoever subscribes to their subject. So an idle
//! receiver learns whether others work on what the stream holds, without asking the server, whose word is in doubt.

use async_nats::Subscriber;
use futures::{FutureExt, StreamExt};

use super::{broker::Broker, consumer};
use crate::Error;

const ACTION: &str = "listen for acknowledgements";

/// What is sent to oneself: where it does not arrive, nothing else would. Servers ignore acknowledgements that they do not
/// know.
const PROBE: &[u8] = b"?";

/// The probe and one acknowledgement tell enough; more would only cost.
const ENOUGH: u64 = 2;

/// What was heard in some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Somebody works.
    Work,
    /// Nobody.
    Silence,
    /// Acknowledgements cannot be heard, or not yet: nothing can be concluded.
    Nothing,
}

/// Listens from its beginning on.
pub(super) struct Hearing(Subscriber);

impl Hearing {
    pub(super) async fn begin(broker: &Broker) -> Result<Self, Error> {
        let unavailable = |error: async_nats::Error| broker.link.unavailable(ACTION, error);
        let subject = format!("$JS.ACK.{}.{}", broker.config.nats_stream, consumer::NAME);
        let client = &broker.link.client;
        let mut acks = client
            .subscribe(format!("{subject}.>"))
            .await
            .map_err(|error| unavailable(error.into()))?;
        acks.unsubscribe_after(ENOUGH)
            .await
            .map_err(|error| unavailable(error.into()))?;
        client
            .publish(format!("{subject}.probe"), PROBE.into())
            .await
            .map_err(|error| unavailable(error.into()))?;
        Ok(Self(acks))
    }

    /// What was heard since the beginning.
    pub(super) fn end(mut self) -> Heard {
        let mut heard = Heard::Nothing;
        while let Some(Some(message)) = self.0.next().now_or_never() {
            heard = if message.payload == PROBE {
                Heard::Silence
            } else {
                return Heard::Work;
            };
        }
        heard
    }
}
