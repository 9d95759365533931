//! Wakes couriers when deliveries may be due, and fetchers when objects are registered. A notification may be lost: both
//! also look at the database by themselves, less often.

use std::time::Duration;

use async_nats::{Client, Subscriber, connection::State};
use futures::{FutureExt, StreamExt};
use tokio::{sync::watch, time::timeout};

use crate::Error;

/// How long a notification may take: what waits for it is a commit's next step.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Deliveries may be due: from writers to couriers.
    Deliveries,
    /// Objects are registered: from the api to fetchers.
    Objects,
}

impl Subject {
    /// The second token of the subject in NATS.
    fn token(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Objects => "objects",
        }
    }
}

/// Notifications about one subject; clones share them.
#[derive(Clone, Debug)]
pub struct Wakeup(Kind);

#[derive(Clone, Debug)]
enum Kind {
    InProcess(watch::Sender<()>),
    Nats { client: Client, subject: String },
}

/// Receives notifications.
pub struct Listener(Received);

enum Received {
    InProcess(watch::Receiver<()>),
    Nats(Subscriber),
}

impl Default for Wakeup {
    fn default() -> Self {
        Self(Kind::InProcess(watch::Sender::new(())))
    }
}

impl Wakeup {
    /// Notifications on the subject `STREAM.deliveries` or `STREAM.objects`, which is not one of the stream's.
    pub(crate) fn nats(client: Client, stream: &str, subject: Subject) -> Self {
        Self(Kind::Nats { client, subject: format!("{stream}.{}", subject.token()) })
    }

    /// Notifies all listeners. Without a connection it does nothing.
    pub async fn notify(&self) {
        match &self.0 {
            Kind::InProcess(sender) => sender.send_modify(|()| {}),
            Kind::Nats { client, subject } => {
                if client.connection_state() != State::Connected {
                    return;
                }
                let sent = timeout(TIMEOUT, client.publish(subject.clone(), "".into())).await;
                if !matches!(sent, Ok(Ok(()))) {
                    tracing::debug!(subject, "send notification failed");
                }
            }
        }
    }

    /// Receives the notifications from now on.
    pub async fn subscribe(&self) -> Result<Listener, Error> {
        match &self.0 {
            Kind::InProcess(sender) => Ok(Listener(Received::InProcess(sender.subscribe()))),
            Kind::Nats { client, subject } => match client.subscribe(subject.clone()).await {
                Ok(subscriber) => Ok(Listener(Received::Nats(subscriber))),
                Err(error) => Err(Error::Unavailable {
                    action: "subscribe to wake-ups",
                    url: subject.clone(),
                    source: error.into(),
                }),
            },
        }
    }
}

impl Listener {
    /// Waits for a notification; those that came since the last one are one.
    pub async fn notified(&mut self) {
        match &mut self.0 {
            Received::InProcess(receiver) => {
                if receiver.changed().await.is_err() {
                    // The queue has ended.
                    std::future::pending::<()>().await;
                }
            }
            Received::Nats(subscriber) => {
                if subscriber.next().await.is_none() {
                    // The client has ended.
                    std::future::pending::<()>().await;
                }
                while let Some(Some(_)) = subscriber.next().now_or_never() {}
            }
        }
    }
}
