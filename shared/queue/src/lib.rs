//! The queue of chunks between fetchers and writers.
//!
//! [`Queue`] is a port: its doc comments are its contract, every adapter is one file or folder, and all of them pass the
//! same suite, `tests/it/conformance.rs`. Correctness does not depend on the queue: what it loses, the fetcher reads and
//! publishes again.

mod chunk;
mod in_process;
mod jetstream;
mod trace;
mod wakeup;

use async_trait::async_trait;
pub use chunk::Chunk;
use futures::future::BoxFuture;
pub use in_process::InProcess;
use jetline_core::ObjectId;
// For the property tests of messages, tests/properties.
#[doc(hidden)]
pub use jetstream::message;
pub use jetstream::{JetStream, JetStreamConfig, NatsUrls, OwnLedger, ReadIdentity};
pub use trace::QueueDestination;
pub use wakeup::{Listener, Subject, Wakeup};

/// Delivers chunks from fetchers to writers at least once, unless the queue loses them.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Publishes a chunk; the returned future resolves when the queue has stored it.
    ///
    /// Calls that are awaited in sequence publish in that order. Publishing a chunk again with the same object, start and
    /// `read_attempt` is safe. [`Error::Full`] and [`Error::Unavailable`] are transient: retry.
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, Error>;

    /// Waits for at least one chunk and returns up to `max` of them.
    ///
    /// A delivery is redelivered if it is dropped, or if it is neither acknowledged nor reported in progress within the
    /// acknowledgement wait. The call is cancel safe.
    async fn receive(&self, max: usize) -> Result<Vec<ReceivedChunk>, Error>;

    /// How many chunks of each object are not acknowledged: waiting or in flight.
    async fn pending(&self, objects: &[ObjectId]) -> Result<Vec<u64>, Error>;

    /// The maximum size of a chunk's body, in bytes.
    fn max_body_bytes(&self) -> usize;

    /// Its name in traces.
    fn destination(&self) -> QueueDestination;

    /// Notifications about a subject, in all processes that use the queue.
    fn wakeup(&self, subject: Subject) -> Wakeup;
}

/// Resolves when the queue has stored a chunk.
pub type PublishAck = BoxFuture<'static, Result<(), Error>>;

/// A chunk delivered to a writer.
pub struct ReceivedChunk {
    /// The chunk, as published.
    pub chunk: Chunk,
    /// The number of this delivery of the chunk: 1, 2, …
    pub attempt: u64,
    acker: Box<dyn Acker>,
}

impl ReceivedChunk {
    /// A delivery that is acknowledged through `acker`.
    pub fn new(chunk: Chunk, attempt: u64, acker: Box<dyn Acker>) -> Self {
        Self { chunk, attempt, acker }
    }

    /// Acknowledges the chunk: it is not delivered again.
    pub async fn ack(self) -> Result<(), Error> {
        self.acker.ack().await
    }

    /// Reports progress: restarts the acknowledgement wait.
    pub async fn progress(&self) -> Result<(), Error> {
        self.acker.progress().await
    }
}

/// The adapter's part of a [`ReceivedChunk`].
#[async_trait]
pub trait Acker: Send + Sync {
    /// See [`ReceivedChunk::ack`].
    async fn ack(&self) -> Result<(), Error>;
    /// See [`ReceivedChunk::progress`].
    async fn progress(&self) -> Result<(), Error>;
}

/// Why an operation on the queue failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue is full; a retry may help.
    #[error("the queue is full")]
    Full,
    /// The server is unavailable; a retry may help.
    #[error("cannot {action} at the queue {url}")]
    Unavailable {
        /// The operation.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refused; a retry does not help.
    #[error("the queue {url} refused to {action}: {reason}")]
    Refused {
        /// The operation.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// The reason and what to do.
        reason: String,
    },
    /// A message that is not a chunk.
    #[error("message {subject} is not a chunk: {reason}")]
    Malformed {
        /// Its subject.
        subject: String,
        /// The header that is missing or wrong.
        reason: String,
    },
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

impl Error {
    /// Whether a retry may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full | Self::Unavailable { .. })
    }
}
