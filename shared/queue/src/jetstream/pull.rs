//! Pull requests, one at a time.
//!
//! First everything that is there is asked for, up to a limit; only when nothing is there, one message is waited for.
//! So whatever the server delivers is returned at once, and no chunk waits in a client that is busy. All state lives
//! in the [`Puller`], so that a call that is cancelled is taken up by the next one.
//!
//! async-nats has pull requests of its own. They know neither that the connection was lost nor how to find out that
//! the consumer is gone: to a request for a missing consumer the server says nothing.

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
    broker::{ANSWER, Broker},
    consumer,
    foreign::Foreign,
    gauge::Gauge,
    message,
    watchdog::Watchdog,
};
use crate::{Delivery, Error};

const ACTION: &str = "receive chunks";

/// How long one pull request waits for a message. The watchdog looks when it brought nothing.
const WAIT: Duration = Duration::from_secs(3);

/// What one pull request may bring, in bytes. It goes to the server as a number of the largest messages: a limit in
/// bytes ends a request with an error at the first message that does not fit.
const PULL_BYTES: usize = 32 << 20;

/// Receives for one queue.
pub(super) struct Puller {
    broker: Arc<Broker>,
    /// Received and not yet returned.
    ready: VecDeque<Delivery>,
    open: Option<Pull>,
    /// Whether the next pull request waits, because nothing was there.
    wait: bool,
    watchdog: Watchdog,
    foreign: Foreign,
    /// Whether the server refused the last pull request.
    refused: bool,
    /// There once something was asked for: who only publishes does not show what writers have to do.
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
            foreign: Foreign::default(),
            refused: false,
            gauge: None,
        }
    }

    /// Waits for at least one delivery and returns up to `max`.
    pub(super) async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
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

    /// Takes the next event of the open pull request.
    async fn advance(&mut self) -> Result<(), Error> {
        let Some(pull) = &mut self.open else {
            return Ok(());
        };
        let event = pull.next(&self.broker).await?;
        if matches!(event, Event::Message(_)) && pull.left > 0 {
            pull.deadline = Instant::now() + ANSWER;
        } else if !matches!(event, Event::Silence) {
            self.open = None;
        }
        match event {
            Event::Message(message) => self.take(*message).await,
            // What has come is returned; whatever is wrong shows again at the next request.
            _ if !self.ready.is_empty() => self.open = None,
            Event::Nothing => return self.look().await,
            Event::Loss => self.make().await?,
            Event::Silence => return self.ask().await,
            Event::Refusal(reason) => {
                self.refused = !self.refused;
                if !self.refused {
                    return Err(self.broker.link.unavailable(ACTION, reason.into()));
                }
                self.make().await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, message: Message) {
        self.wait = false;
        self.watchdog.received();
        self.refused = false;
        let delivered = message.info().map(|info| info.delivered);
        let attempt = delivered.map_or(1, |count| count.max(1).unsigned_abs());
        let Some(message) = self.foreign.sort(&self.broker, attempt, message).await else {
            return;
        };
        let (message, acker) = message.split();
        match message::chunk(message) {
            Ok(chunk) => {
                let delivery = acker::delivery(chunk, attempt, acker, &self.broker);
                self.ready.push_back(delivery);
            }
            Err(error) => {
                warn!(%error, "message dropped");
                // Where this fails, it comes again and is dropped then.
                let _ = acker.ack_with(AckKind::Term).await;
            }
        }
    }

    /// Nothing came: waits next time, or, after having waited, looks whether something is stuck.
    async fn look(&mut self) -> Result<(), Error> {
        self.refused = false;
        self.wait = !self.wait;
        if self.wait {
            return Ok(());
        }
        self.replace_what_is_stuck().await
    }

    /// No answer at all: the consumer is missing, something is stuck, or the server is slow.
    async fn ask(&mut self) -> Result<(), Error> {
        if self.broker.ensure().await? {
            self.open = None;
            return Ok(());
        }
        self.replace_what_is_stuck().await?;
        let Some(pull) = &mut self.open else {
            return Ok(());
        };
        pull.silences += 1;
        pull.deadline = Instant::now() + ANSWER;
        if pull.silences < 3 {
            return Ok(());
        }
        self.open = None;
        let reason = "the server does not answer pull requests".into();
        Err(self.broker.link.unavailable(ACTION, reason))
    }

    async fn replace_what_is_stuck(&mut self) -> Result<(), Error> {
        let Some(holdings) = self.broker.holdings().await? else {
            return self.make().await;
        };
        if self.watchdog.look(holdings).await? {
            self.open = None;
        }
        Ok(())
    }

    async fn make(&mut self) -> Result<(), Error> {
        self.wait = false;
        self.broker.link.connected().await?;
        self.broker.ensure().await.map(|_| ())
    }
}

/// A pull request and what comes of it.
struct Pull {
    inbox: Subscriber,
    /// Messages that it may still bring.
    left: usize,
    /// How often the connection was lost when it was made.
    losses: u64,
    deadline: Instant,
    silences: u32,
}

enum Event {
    Message(Box<Message>),
    /// The request is over.
    Nothing,
    Refusal(String),
    /// The connection was lost, and the request with it.
    Loss,
    /// The server owes an answer.
    Silence,
}

impl Pull {
    async fn open(broker: &Broker, wait: bool, max: usize) -> Result<Self, Error> {
        let unavailable = |error: async_nats::Error| broker.link.unavailable(ACTION, error);
        broker.link.connected().await?;
        let losses = broker.link.losses();
        let client = &broker.link.client;
        let (batch, patience) = if wait {
            (1, WAIT)
        } else {
            (
                max.min((PULL_BYTES / client.max_payload()).max(1)),
                Duration::ZERO,
            )
        };
        let request = json!({
            "batch": batch,
            "no_wait": !wait,
            "expires": patience.as_nanos(),
        });
        let subject = format!(
            "$JS.API.CONSUMER.MSG.NEXT.{}.{}",
            broker.config.nats_stream,
            consumer::NAME
        );
        let reply = client.new_inbox();
        let inbox = client
            .subscribe(reply.clone())
            .await
            .map_err(|error| unavailable(error.into()))?;
        client
            .publish_with_reply(subject, reply, request.to_string().into())
            .await
            .map_err(|error| unavailable(error.into()))?;
        Ok(Self {
            inbox,
            left: batch,
            losses,
            deadline: Instant::now() + patience + ANSWER,
            silences: 0,
        })
    }

    /// The next event; cancelling loses none.
    async fn next(&mut self, broker: &Broker) -> Result<Event, Error> {
        loop {
            let message = tokio::select! {
                biased;
                message = self.inbox.next() => message.ok_or(Error::Closed)?,
                () = broker.link.lost(self.losses) => return Ok(Event::Loss),
                () = sleep_until(self.deadline) => return Ok(Event::Silence),
            };
            let description = message.description.as_deref().unwrap_or_default();
            match message.status {
                None | Some(StatusCode::OK) => {
                    self.left = self.left.saturating_sub(1);
                    let context = broker.context.clone();
                    return Ok(Event::Message(Box::new(Message { message, context })));
                }
                Some(StatusCode::IDLE_HEARTBEAT) => {}
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => return Ok(Event::Nothing),
                Some(_) if description.contains("MaxAckPending") => return Ok(Event::Nothing),
                Some(status) => return Ok(Event::Refusal(format!("{status} {description}"))),
            }
        }
    }
}
