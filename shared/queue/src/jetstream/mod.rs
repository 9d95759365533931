//! Chunks in a `JetStream` stream: one work queue, one durable pull consumer, explicit acknowledgements.
//!
//! The subject of a chunk is `STREAM.chunks.DATASET.OBJECT`. The stream and the consumer are made at the start, and
//! again when they are gone: a server that came back empty costs only what it held.

mod acker;
mod broker;
mod config;
mod consumer;
mod failing;
mod failure;
mod foreign;
mod gauge;
mod hearing;
mod link;
#[doc(hidden)]
pub mod message;
mod own_ledger;
mod pull;
mod servers;
mod watchdog;

use std::sync::Arc;

use async_nats::jetstream::context::PublishErrorKind;
use async_trait::async_trait;
pub use config::JetStreamConfig;
use jetline_records::ObjectId;
pub use own_ledger::OwnLedger;
pub use servers::NatsUrls;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tracing::warn;
use url::Url;

use self::{
    broker::{ANSWER, Broker},
    link::Link,
    pull::Puller,
};
use crate::{Chunk, Delivery, Destination, Error, PublishAck, Queue};

/// From so many objects on it is cheaper to have the server count the messages of all.
const ASK_FOR_ALL: usize = 4;

/// The queue in NATS.
///
/// [`Queue::publish`] answers [`Error::Unavailable`] at once while the connection is lost; [`Queue::receive`] waits
/// for it. An acknowledgement is sent, but the server's answer to it is not awaited.
pub struct JetStream {
    broker: Arc<Broker>,
    puller: Mutex<Puller>,
}

impl JetStream {
    /// Connects to one of the servers, and makes the stream and its consumer as configured.
    ///
    /// Whether a damaged stream takes no consumer for long is found out, and mended, by those who receive.
    ///
    /// Chunks are published as those of `ledger`, and those of another one are not received; without one, all are.
    pub async fn connect(
        servers: &[Url],
        config: &JetStreamConfig,
        ledger: Option<Arc<OwnLedger>>,
    ) -> Result<Self, Error> {
        let link = Link::open(servers, config).await?;
        let broker = Arc::new(Broker::new(link, config.clone(), ledger));
        let ensured = broker.ensure().await;
        if !broker.consuming.has_begun() {
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
        // Without a connection the client would hold the chunk, and the caller's next attempt as well.
        broker.link.check(ACTION)?;
        if let Err(reason) = message::acceptable(&chunk, self.max_body_bytes()) {
            return Err(failure::refused(&broker.link, ACTION, &reason));
        }
        let losses = broker.link.losses();
        let subject = message::subject(&broker.config.nats_stream, &chunk);
        let mut headers = message::headers(&chunk);
        if let Some(ledger) = broker.ledger() {
            message::sign(&mut headers, &ledger.identity());
        }
        let sent = broker
            .context
            .publish_with_headers(subject, headers, chunk.body)
            .await
            .map_err(|error| failure::of_publish(&broker.link, error))?;
        // From now on, not from when somebody waits: answers that are lost together are given up together, however many.
        let answer = timeout_at(Instant::now() + ANSWER, sent.into_future());
        Ok(Box::pin(async move {
            let answer = tokio::select! {
                answer = answer => answer,
                () = broker.link.lost(losses) => {
                    let reason = "the connection was lost before the answer";
                    return Err(broker.link.unavailable(ACTION, reason.into()));
                }
            };
            let error = match answer {
                Ok(Ok(_)) => {
                    broker.stored();
                    return Ok(());
                }
                Ok(Err(error)) => error,
                Err(_) => PublishErrorKind::TimedOut.into(),
            };
            let may_be_gone = matches!(
                error.kind(),
                PublishErrorKind::StreamNotFound | PublishErrorKind::TimedOut
            );
            if may_be_gone && broker.ensure().await? {
                warn!(stream = broker.config.nats_stream, "stream was gone");
            }
            if failure::is_of_store(&error) {
                broker.not_stored().await?;
            }
            Err(failure::of_publish(&broker.link, error))
        }))
    }

    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        self.puller.lock().await.receive(max).await
    }

    async fn pending(&self, object: ObjectId) -> Result<u64, Error> {
        self.broker.ask_ledger().await;
        self.broker.messages_of(object).await
    }

    async fn pending_of_each(&self, objects: &[ObjectId]) -> Result<Vec<u64>, Error> {
        self.broker.ask_ledger().await;
        let mut pending = Vec::with_capacity(objects.len());
        if objects.len() < ASK_FOR_ALL {
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
        let payload = self.broker.link.client.max_payload();
        payload.saturating_sub(message::HEADER_ROOM)
    }

    fn destination(&self) -> Destination {
        Destination {
            system: "nats",
            name: self.broker.config.nats_stream.clone(),
        }
    }
}
