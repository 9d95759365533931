//! Chunks in flight between the fetcher and the writers.
//!
//! [`Queue`] is a port: what it promises stands in its doc comment, every adapter is one file or folder, and all of
//! them pass the same suite, `tests/it/conformance.rs`. Nothing that a queue holds is needed for correctness: whatever
//! it loses, the fetcher reads and publishes again.

mod chunk;
mod in_process;
mod jetstream;
mod trace;

use async_trait::async_trait;
pub use chunk::Chunk;
use futures::future::BoxFuture;
pub use in_process::InProcess;
use jetline_records::ObjectId;
// For what must hold for every message, whoever wrote it: tests/properties.
#[doc(hidden)]
pub use jetstream::message;
pub use jetstream::{JetStream, JetStreamConfig, NatsUrls, OwnLedger};
pub use trace::Destination;

/// Carries chunks from fetchers to writers, each at least once as long as nothing is lost.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends a chunk; the result resolves when the queue has taken it.
    ///
    /// Calls that are awaited one after another are sent in that order. Publishing the same chunk of the same reading
    /// again (same object, start and `reading`) is safe. [`Error::Full`] and [`Error::Unavailable`] are for trying again.
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, Error>;

    /// Waits for at least one chunk and returns up to `max` of them.
    ///
    /// A delivery that is neither acknowledged nor kept in progress for the acknowledgement wait, and one that is
    /// dropped, is delivered again. Cancelling the call loses nothing.
    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, Error>;

    /// How many chunks of an object are published and not acknowledged: waiting or in flight.
    async fn pending(&self, object: ObjectId) -> Result<u64, Error>;

    /// The same of each of several objects, at little more than the cost of one.
    async fn pending_of_each(&self, objects: &[ObjectId]) -> Result<Vec<u64>, Error>;

    /// The longest body, in bytes, that a chunk may have.
    fn max_body_bytes(&self) -> usize;

    /// What traces call it.
    fn destination(&self) -> Destination;
}

/// Resolves when the queue has taken a chunk.
pub type PublishAck = BoxFuture<'static, Result<(), Error>>;

/// A chunk in the hands of a writer.
pub struct Delivery {
    /// What was published.
    pub chunk: Chunk,
    /// How often this chunk was delivered, this time included: 1, 2, …
    pub attempt: u64,
    acker: Box<dyn Acker>,
}

impl Delivery {
    /// A delivery whose fate is told to `acker`.
    pub fn new(chunk: Chunk, attempt: u64, acker: Box<dyn Acker>) -> Self {
        Self {
            chunk,
            attempt,
            acker,
        }
    }

    /// Says that the chunk is committed: it is not delivered again.
    pub async fn ack(self) -> Result<(), Error> {
        self.acker.ack().await
    }

    /// Gives the chunk back: it is delivered again at once.
    pub async fn nak(self) -> Result<(), Error> {
        self.acker.nak().await
    }

    /// Says that work on the chunk goes on: starts the acknowledgement wait anew.
    pub async fn progress(&self) -> Result<(), Error> {
        self.acker.progress().await
    }
}

/// An adapter's half of a [`Delivery`].
#[async_trait]
pub trait Acker: Send + Sync {
    /// See [`Delivery::ack`].
    async fn ack(&self) -> Result<(), Error>;
    /// See [`Delivery::nak`].
    async fn nak(&self) -> Result<(), Error>;
    /// See [`Delivery::progress`].
    async fn progress(&self) -> Result<(), Error>;
}

/// Why the queue did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It holds as much as it may; waiting helps.
    #[error("the queue is full")]
    Full,
    /// It cannot be reached or does not answer; waiting helps.
    #[error("cannot {action} at the queue {url}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused; waiting does not help.
    #[error("the queue {url} refused to {action}: {reason}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// Its reason and what to do.
        reason: String,
    },
    /// A message that is not a chunk.
    #[error("message {subject} is not a chunk: {reason}")]
    Malformed {
        /// Where it came from.
        subject: String,
        /// The header that is missing or wrong.
        reason: String,
    },
    /// The queue was closed; nothing comes any more.
    #[error("the queue is closed")]
    Closed,
}

impl Error {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Full | Self::Unavailable { .. })
    }
}
