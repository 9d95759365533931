//! The queue as a `JetStream` stream: work queue retention, one durable pull consumer, explicit acknowledgements.
//!
//! The subject of a chunk is `STREAM.chunks.DATASET.OBJECT`. The stream and the consumer are created at start, and again
//! when they are missing, as on a server that has lost its data.

mod acker;
mod broker;
mod config;
mod connection;
mod consumer;
mod failure;
mod failure_timer;
mod gauge;
#[doc(hidden)]
pub mod message;
mod other_ledger;
mod own_ledger;
mod progress_listener;
mod pull;
mod servers;
mod watchdog;

use std::sync::Arc;

use async_nats::jetstream::context::PublishErrorKind;
use async_trait::async_trait;
pub use config::JetStreamConfig;
use jetline_core::ObjectId;
pub use own_ledger::{OwnLedger, ReadIdentity};
pub use servers::NatsUrls;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tracing::warn;
use url::Url;

use self::{
    broker::{Broker, RESPONSE_TIMEOUT},
    connection::Connection,
    pull::Puller,
};
use crate::{Chunk, Error, PublishAck, Queue, QueueDestination, ReceivedChunk, Subject, Wakeup};

/// From this number of objects on, one count over all subjects is cheaper than one per object.
const COUNT_ALL_FROM: usize = 4;

/// The queue in NATS.
///
/// Without a connection, [`Queue::publish`] returns [`Error::Unavailable`] at once, and [`Queue::receive`] waits. An
/// acknowledgement is sent, but not confirmed by the server (no double ack).
pub struct JetStream {
    broker: Arc<Broker>,
    puller: Mutex<Puller>,
}

impl JetStream {
    /// Connects to one of the servers, and creates or updates the stream and its consumer.
    ///
    /// A damaged stream on which no consumer can be created is not an error here: receivers replace it after a while.
    ///
    /// Chunks are published with the identity of `ledger`, and those of other ledgers are not received; with `None`, all
    /// chunks are received.
    pub async fn connect(
        servers: &[Url],
        config: &JetStreamConfig,
        ledger: Option<Arc<OwnLedger>>,
    ) -> Result<Self, Error> {
        let connection = Connection::open(servers, config).await?;
        let broker = Arc::new(Broker::new(connection, config.clone(), ledger));
        let ensured = broker.ensure().await;
        if !broker.consuming.is_failing() {
            ensured?;
        }
        let puller = Mutex::new(Puller::new(Arc::clone(&broker)));
        Ok(Self { broker, puller })
    }
}

#[async_trait]
impl Queue for JetStream {
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, Error> {
        const ACTION: &str = "publish a chunk";
        let broker = Arc::clone(&self.broker);
        // Without a connection the client would buffer the chunk, and that of the caller's retry as well.
        broker.connection.check(ACTION)?;
        if let Err(reason) = message::check(&chunk, self.max_body_bytes()) {
            return Err(failure::refused(&broker.connection, ACTION, &reason));
        }
        let losses = broker.connection.losses();
        let subject = message::subject(&broker.config.nats_stream, &chunk);
        let mut headers = message::headers(&chunk);
        if let Some(ledger) = broker.ledger() {
            message::set_ledger(&mut headers, &ledger.identity());
        }
        let sent = broker
            .context
            .publish_with_headers(subject, headers, message::payload(chunk))
            .await
            .map_err(|error| failure::from_publish(&broker.connection, error))?;
        // The timeout starts now, not when the ack is awaited: acks that are lost together time out together.
        let ack = timeout_at(Instant::now() + RESPONSE_TIMEOUT, sent.into_future());
        Ok(Box::pin(async move {
            let ack = tokio::select! {
                ack = ack => ack,
                () = broker.connection.lost(losses) => {
                    let reason = "connection lost before the acknowledgement";
                    return Err(broker.connection.unavailable(ACTION, reason.into()));
                }
            };
            let error = match ack {
                Ok(Ok(_)) => {
                    broker.stored();
                    return Ok(());
                }
                Ok(Err(error)) => error,
                Err(_) => PublishErrorKind::TimedOut.into(),
            };
            let may_be_missing = matches!(
                error.kind(),
                PublishErrorKind::StreamNotFound | PublishErrorKind::TimedOut
            );
            if may_be_missing && broker.ensure().await? {
                warn!(
                    stream = broker.config.nats_stream,
                    "stream was missing and is created again"
                );
            }
            if failure::is_store_failure(&error) {
                broker.store_failed().await?;
            }
            Err(failure::from_publish(&broker.connection, error))
        }))
    }

    async fn receive(&self, max: usize) -> Result<Vec<ReceivedChunk>, Error> {
        self.puller.lock().await.receive(max).await
    }

    async fn pending(&self, objects: &[ObjectId]) -> Result<Vec<u64>, Error> {
        self.broker.refresh_ledger().await;
        let mut pending = Vec::with_capacity(objects.len());
        if objects.len() < COUNT_ALL_FROM {
            for object in objects {
                pending.push(self.broker.messages_of(*object).await?);
            }
            return Ok(pending);
        }
        let all = self.broker.messages().await?;
        let each = objects.iter().map(|object| all.get(object).copied());
        pending.extend(each.map(Option::unwrap_or_default));
        Ok(pending)
    }

    fn max_body_bytes(&self) -> usize {
        let payload = self.broker.connection.client.max_payload();
        payload.saturating_sub(message::MAX_HEADER_BYTES)
    }

    fn destination(&self) -> QueueDestination {
        QueueDestination { system: "nats", name: self.broker.config.nats_stream.clone() }
    }

    fn wakeup(&self, subject: Subject) -> Wakeup {
        self.broker.connection.wakeup(&self.broker.config, subject)
    }
}
