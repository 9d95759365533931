//! Acknowledgements of a delivery.

use std::sync::Arc;

use async_nats::jetstream::{AckKind, message::Acker as NatsAcker};
use async_trait::async_trait;

use super::broker::Broker;
use crate::{Acker, Chunk, Delivery, Error};

/// The delivery of a chunk that came in a message.
pub(super) fn delivery(
    chunk: Chunk,
    attempt: u64,
    acker: NatsAcker,
    broker: &Arc<Broker>,
) -> Delivery {
    let broker = Arc::clone(broker);
    Delivery::new(chunk, attempt, Box::new(MessageAcker { acker, broker }))
}

struct MessageAcker {
    acker: NatsAcker,
    broker: Arc<Broker>,
}

#[async_trait]
impl Acker for MessageAcker {
    /// One that is lost on its way only brings the chunk again, which the ledger knows by then.
    async fn ack(&self) -> Result<(), Error> {
        const ACTION: &str = "acknowledge a chunk";
        self.send(ACTION, AckKind::Ack).await?;
        self.written(ACTION).await
    }

    async fn nak(&self) -> Result<(), Error> {
        const ACTION: &str = "give a chunk back";
        self.send(ACTION, AckKind::Nak(None)).await?;
        self.written(ACTION).await
    }

    /// Not kept for later: it is said again and again, and would fill the client while the server is away.
    async fn progress(&self) -> Result<(), Error> {
        const ACTION: &str = "keep a chunk in progress";
        self.broker.link.check(ACTION)?;
        self.send(ACTION, AckKind::Progress).await
    }
}

impl MessageAcker {
    async fn send(&self, action: &'static str, kind: AckKind) -> Result<(), Error> {
        self.acker
            .ack_with(kind)
            .await
            .map_err(|error| self.broker.link.unavailable(action, error))
    }

    /// Waits until what was sent is on the wire: a client that is dropped throws away what it still holds, and a
    /// writer ends after its last acknowledgement. While the connection is made again, it waits in the client.
    async fn written(&self, action: &'static str) -> Result<(), Error> {
        let link = &self.broker.link;
        let losses = link.losses();
        if link.check(action).is_err() {
            return Ok(());
        }
        tokio::select! {
            flushed = link.client.flush() => {
                flushed.map_err(|error| link.unavailable(action, error.into()))
            }
            () = link.lost(losses) => Ok(()),
        }
    }
}
