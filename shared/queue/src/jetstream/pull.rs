//! Pull requests, one at a time.
//!
//! The first request takes all available messages up to a limit without waiting; only if there are none, the next waits for
//! one message. So delivered messages are returned at once, and no chunk waits in a busy client. All state is in the
//! [`Puller`], so that the next call resumes a cancelled one.
//!
//! The stream of async-nats requests the next messages before it is asked for them: docs/decisions/0016.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::{
    StatusCode, Subscriber,
    jetstream::{AckKind, Message},
};
use futures::StreamExt;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::{
    acker,
    broker::{Broker, RESPONSE_TIMEOUT},
    consumer,
    gauge::Gauge,
    message,
    other_ledger::OtherLedger,
    watchdog::Watchdog,
};
use crate::{Error, ReceivedChunk};

const ACTION: &str = "receive chunks";

/// After how many timeouts a pull request fails.
const MAX_TIMEOUTS: u32 = 3;

/// How long a pull request waits for a message. If none arrives, the watchdog checks the stream.
const PULL_EXPIRES: Duration = Duration::from_secs(3);

/// The most bytes of one pull request. It is sent as a number of maximum-size messages: a limit in bytes would end the
/// request with an error at the first message that does not fit.
const MAX_PULL_BYTES: usize = 32 << 20;

/// Receives for one queue.
pub(super) struct Puller {
    broker: Arc<Broker>,
    /// Received and not yet returned.
    ready: VecDeque<ReceivedChunk>,
    open: Option<Pull>,
    /// Whether the next pull request waits, because there were no messages.
    wait: bool,
    watchdog: Watchdog,
    other_ledger: OtherLedger,
    /// Whether the server refused the last pull request.
    refused: bool,
    /// Started by the first call: a process that only publishes does not report the gauge.
    gauge: Option<Gauge>,
}

impl Puller {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        let watchdog = Watchdog::new(Arc::clone(&broker));
        Self {
            broker,
            ready: VecDeque::new(),
            open: None,
            wait: false,
            watchdog,
            other_ledger: OtherLedger::default(),
            refused: false,
            gauge: None,
        }
    }

    /// Waits for at least one delivery and returns up to `max`.
    pub(super) async fn receive(&mut self, max: usize) -> Result<Vec<ReceivedChunk>, Error> {
        let max = max.max(1);
        self.gauge.get_or_insert_with(|| Gauge::start(&self.broker));
        while self.ready.is_empty() || self.open.is_some() {
            if self.open.is_none() {
                self.open = Some(Pull::open(&self.broker, self.wait, max).await?);
            }
            self.advance().await?;
        }
        let count = self.ready.len().min(max);
        Ok(self.ready.drain(..count).collect())
    }

    /// Processes the next event of the open pull request.
    async fn advance(&mut self) -> Result<(), Error> {
        let Some(pull) = &mut self.open else {
            return Ok(());
        };
        let event = pull.next(&self.broker).await?;
        if matches!(event, Event::Message(_)) && pull.left > 0 {
            pull.deadline = Instant::now() + RESPONSE_TIMEOUT;
        } else if !matches!(event, Event::Timeout) {
            self.open = None;
        }
        match event {
            Event::Message(message) => self.accept(*message).await,
            // Received messages are returned first; an error occurs again with the next request.
            _ if !self.ready.is_empty() => self.open = None,
            Event::NoMessages => return self.no_messages().await,
            Event::ConnectionLost => self.ensure().await?,
            Event::Timeout => return self.no_response().await,
            Event::Refusal(reason) => {
                self.refused = !self.refused;
                if !self.refused {
                    return Err(self.broker.connection.unavailable(ACTION, reason.into()));
                }
                self.ensure().await?;
            }
        }
        Ok(())
    }

    async fn accept(&mut self, message: Message) {
        self.wait = false;
        self.watchdog.received();
        self.refused = false;
        let delivered = message.info().map(|info| info.delivered);
        let attempt = delivered.map_or(1, |count| count.max(1).unsigned_abs());
        let Some(message) = self.other_ledger.filter(&self.broker, attempt, message).await else {
            return;
        };
        let (message, acker) = message.split();
        match message::chunk(message) {
            Ok(chunk) => {
                let delivery = acker::delivery(chunk, attempt, acker, &self.broker);
                self.ready.push_back(delivery);
            }
            Err(error) => {
                warn!(%error, "malformed message discarded");
                // If this fails, it is redelivered and discarded then.
                let _ = acker.ack_with(AckKind::Term).await;
            }
        }
    }

    /// No messages: wait with the next request, or, after a wait, check whether the stream is stalled.
    async fn no_messages(&mut self) -> Result<(), Error> {
        self.refused = false;
        self.wait = !self.wait;
        if self.wait {
            return Ok(());
        }
        self.check_stalled().await
    }

    /// No response: the consumer is missing, the stream is stalled, or the server is slow.
    async fn no_response(&mut self) -> Result<(), Error> {
        if self.broker.ensure().await? {
            self.open = None;
            return Ok(());
        }
        self.check_stalled().await?;
        let Some(pull) = &mut self.open else {
            return Ok(());
        };
        pull.timeouts += 1;
        pull.deadline = Instant::now() + RESPONSE_TIMEOUT;
        if pull.timeouts < MAX_TIMEOUTS {
            return Ok(());
        }
        self.open = None;
        let reason = "the server does not respond to pull requests".into();
        Err(self.broker.connection.unavailable(ACTION, reason))
    }

    async fn check_stalled(&mut self) -> Result<(), Error> {
        let Some(state) = self.broker.state().await? else {
            return self.ensure().await;
        };
        if self.watchdog.check(state).await? {
            self.open = None;
        }
        Ok(())
    }

    async fn ensure(&mut self) -> Result<(), Error> {
        self.wait = false;
        self.broker.connection.connected().await?;
        self.broker.ensure().await.map(|_| ())
    }
}

/// An open pull request.
struct Pull {
    inbox: Subscriber,
    /// How many messages it may still return.
    left: usize,
    /// The connection losses when it was sent.
    losses: u64,
    deadline: Instant,
    timeouts: u32,
}

enum Event {
    Message(Box<Message>),
    /// The request ended without further messages.
    NoMessages,
    Refusal(String),
    /// The connection was lost, and the request with it.
    ConnectionLost,
    /// The server did not respond in time.
    Timeout,
}

impl Pull {
    async fn open(broker: &Broker, wait: bool, max: usize) -> Result<Self, Error> {
        let unavailable = |error: async_nats::Error| broker.connection.unavailable(ACTION, error);
        broker.connection.connected().await?;
        let losses = broker.connection.losses();
        let client = &broker.connection.client;
        let (batch, expires) = if wait {
            (1, PULL_EXPIRES)
        } else {
            (max.min((MAX_PULL_BYTES / client.max_payload()).max(1)), Duration::ZERO)
        };
        let request = json!({
            "batch": batch,
            "no_wait": !wait,
            "expires": expires.as_nanos(),
        });
        let subject =
            format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", broker.config.nats_stream, consumer::NAME);
        let reply = client.new_inbox();
        let inbox =
            client.subscribe(reply.clone()).await.map_err(|error| unavailable(error.into()))?;
        client
            .publish_with_reply(subject, reply, request.to_string().into())
            .await
            .map_err(|error| unavailable(error.into()))?;
        Ok(Self {
            inbox,
            left: batch,
            losses,
            deadline: Instant::now() + expires + RESPONSE_TIMEOUT,
            timeouts: 0,
        })
    }

    /// The next event. Cancel safe.
    async fn next(&mut self, broker: &Broker) -> Result<Event, Error> {
        loop {
            let message = tokio::select! {
                biased;
                message = self.inbox.next() => message.ok_or(Error::Closed)?,
                () = broker.connection.lost(self.losses) => return Ok(Event::ConnectionLost),
                () = sleep_until(self.deadline) => return Ok(Event::Timeout),
            };
            let description = message.description.as_deref().unwrap_or_default();
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.left = self.left.saturating_sub(1);
                    let context = broker.context.clone();
                    return Ok(Event::Message(Box::new(Message { message, context })));
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => return Ok(Event::NoMessages),
                Some(_) if description.contains("MaxAckPending") => return Ok(Event::NoMessages),
                Some(status) => return Ok(Event::Refusal(format!("{status} {description}"))),
            }
        }
    }
}
