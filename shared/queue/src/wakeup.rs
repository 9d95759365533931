//! Wakes couriers when deliveries may be due. A call may be lost: couriers also look at the outbox by themselves, less
//! often.

use std::time::Duration;

use async_nats::{Client, Subscriber, connection::State};
use futures::{FutureExt, StreamExt};
use tokio::{sync::watch, time::timeout};

use crate::Error;

/// How long a call may take: what waits for it is a commit's next step.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Calls from writers to couriers; clones share them.
#[derive(Clone, Debug)]
pub struct Wakeup(Kind);

#[derive(Clone, Debug)]
enum Kind {
    InProcess(watch::Sender<()>),
    Nats { client: Client, subject: String },
}

/// Hears calls.
pub struct Listener(Heard);

enum Heard {
    InProcess(watch::Receiver<()>),
    Nats(Subscriber),
}

impl Default for Wakeup {
    fn default() -> Self {
        Self(Kind::InProcess(watch::Sender::new(())))
    }
}

impl Wakeup {
    /// Calls on the subject `STREAM.deliveries`, which is not one of the stream's.
    pub(crate) fn nats(client: Client, stream: &str) -> Self {
        Self(Kind::Nats { client, subject: format!("{stream}.deliveries") })
    }

    /// Calls all couriers. Without a connection it does nothing.
    pub async fn call(&self) {
        match &self.0 {
            Kind::InProcess(sender) => sender.send_modify(|()| {}),
            Kind::Nats { client, subject } => {
                if client.connection_state() != State::Connected {
                    return;
                }
                let sent = timeout(TIMEOUT, client.publish(subject.clone(), "".into())).await;
                if !matches!(sent, Ok(Ok(()))) {
                    tracing::debug!(subject, "wake couriers failed");
                }
            }
        }
    }

    /// Hears the calls from now on.
    pub async fn listen(&self) -> Result<Listener, Error> {
        match &self.0 {
            Kind::InProcess(sender) => Ok(Listener(Heard::InProcess(sender.subscribe()))),
            Kind::Nats { client, subject } => match client.subscribe(subject.clone()).await {
                Ok(subscriber) => Ok(Listener(Heard::Nats(subscriber))),
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
    /// Waits for a call; those that came since the last one are one.
    pub async fn called(&mut self) {
        match &mut self.0 {
            Heard::InProcess(receiver) => {
                if receiver.changed().await.is_err() {
                    // The queue has ended.
                    std::future::pending::<()>().await;
                }
            }
            Heard::Nats(subscriber) => {
                if subscriber.next().await.is_none() {
                    // The client has ended.
                    std::future::pending::<()>().await;
                }
                while let Some(Some(_)) = subscriber.next().now_or_never() {}
            }
        }
    }
}
