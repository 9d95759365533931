//! Acknowledgements of a delivery.

use std::sync::Arc;

use async_nats::jetstream::{AckKind, message::Acker as NatsAcker};
use async_trait::async_trait;

use super::broker::Broker;
use crate::{Acker, Chunk, Error, ReceivedChunk};

/// The delivery of a chunk that was received in a message.
pub(super) fn delivery(
    chunk: Chunk,
    attempt: u64,
    acker: NatsAcker,
    broker: &Arc<Broker>,
) -> ReceivedChunk {
    let broker = Arc::clone(broker);
    ReceivedChunk::new(chunk, attempt, Box::new(MessageAcker { acker, broker }))
}

struct MessageAcker {
    acker: NatsAcker,
    broker: Arc<Broker>,
}

#[async_trait]
impl Acker for MessageAcker {
    /// If it is lost, the chunk is redelivered, and is already committed in the ledger.
    async fn ack(&self) -> Result<(), Error> {
        const ACTION: &str = "acknowledge a chunk";
        self.send(ACTION, AckKind::Ack).await?;
        self.flush(ACTION).await
    }

    /// Not buffered by the client: it is repeated, and would fill the buffer while the server is unavailable.
    async fn progress(&self) -> Result<(), Error> {
        const ACTION: &str = "report progress of a chunk";
        self.broker.connection.check(ACTION)?;
        self.send(ACTION, AckKind::Progress).await
    }
}

impl MessageAcker {
    async fn send(&self, action: &'static str, kind: AckKind) -> Result<(), Error> {
        self.acker
            .ack_with(kind)
            .await
            .map_err(|error| self.broker.connection.unavailable(action, error))
    }

    /// Flushes what was sent: a client that is dropped discards its buffer, and a writer ends after its last
    /// acknowledgement. During a reconnect the acknowledgement stays in the client's buffer.
    async fn flush(&self, action: &'static str) -> Result<(), Error> {
        let connection = &self.broker.connection;
        let losses = connection.losses();
        if connection.check(action).is_err() {
            return Ok(());
        }
        tokio::select! {
            flushed = connection.client.flush() => {
                flushed.map_err(|error| connection.unavailable(action, error.into()))
            }
            () = connection.lost(losses) => Ok(()),
        }
    }
}
