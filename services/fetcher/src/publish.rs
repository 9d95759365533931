//! Publishes chunks in order, with a bounded number of them waiting for the queue's acknowledgement.
//!
//! A full or unreachable queue slows the fetcher down; it never costs a chunk or an object.

use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc, time::Duration};

use jetline_queue::{Chunk, Error, PublishAck, Queue};
use jetline_runtime::{
    Backoff,
    metrics::{CHUNKS_PUBLISHED, RETRIES},
    telemetry::Span,
};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

pub(crate) struct Publisher {
    queue: Arc<dyn Queue>,
    window: NonZeroUsize,
    waiting: VecDeque<(Publication, PublishAck)>,
    backoff: Backoff,
}

/// A chunk and the span that is over when the queue has taken it.
pub(crate) struct Publication {
    pub(crate) chunk: Chunk,
    pub(crate) span: Span,
}

impl Publisher {
    pub(crate) fn new(queue: Arc<dyn Queue>, window: NonZeroUsize, seed: u64) -> Self {
        Self {
            queue,
            window,
            waiting: VecDeque::with_capacity(window.get()),
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY, seed),
        }
    }

    /// Sends a chunk, after waiting for the oldest ones where the window is full. An error says that waiting will not help.
    pub(crate) async fn publish(&mut self, publication: Publication) -> Result<(), Error> {
        while self.waiting.len() >= self.window.get() {
            self.settle_oldest().await?;
        }
        let ack = self.send(&publication).await?;
        self.waiting.push_back((publication, ack));
        Ok(())
    }

    /// Waits until the queue has taken everything.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        while !self.waiting.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Result<(), Error> {
        let Some((publication, mut ack)) = self.waiting.pop_front() else {
            return Ok(());
        };
        while let Err(error) = ack.await {
            self.wait(error, &publication).await?;
            ack = self.send(&publication).await?;
        }
        publication.span.end();
        self.backoff.reset();
        metrics::counter!(CHUNKS_PUBLISHED).increment(1);
        Ok(())
    }

    async fn send(&mut self, publication: &Publication) -> Result<PublishAck, Error> {
        loop {
            match self.queue.publish(publication.chunk.clone()).await {
                Ok(ack) => return Ok(ack),
                Err(error) => self.wait(error, publication).await?,
            }
        }
    }

    async fn wait(&mut self, error: Error, publication: &Publication) -> Result<(), Error> {
        let Publication { chunk, span } = publication;
        if !error.is_passing() {
            span.event("refusal", [("error", error.to_string().into())]);
            return Err(error);
        }
        let delay = self.backoff.next_delay();
        metrics::counter!(RETRIES, "part" => "queue").increment(1);
        span.event("retry", [("error", error.to_string().into())]);
        chunk.log_span().in_scope(|| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                ?delay,
                "the fetcher waits for the queue"
            );
        });
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
