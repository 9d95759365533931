//! Publishes chunks, with a bounded number of unacknowledged ones. One whose publication failed is sent again behind later ones.
//!
//! While the queue is full or unavailable the fetcher waits; it loses no chunk and fails no object.

use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc, time::Duration};

use jetline_queue::{Chunk, Error, PublishAck, Queue};
use jetline_runtime::{
    Backoff,
    metrics::{CHUNKS_PUBLISHED, RETRIES},
    telemetry::Span,
};
use tokio::time::{Instant, sleep};

const INITIAL_DELAY: Duration = Duration::from_millis(50);

/// Shorter than the 5 s of `Backoff::for_calls`: a full queue is not down, and writers must not run dry before the next
/// attempt.
const MAX_DELAY_WHILE_FULL: Duration = Duration::from_secs(1);

/// How often a full queue is logged at most.
const FULL_LOG_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) struct Publisher {
    queue: Arc<dyn Queue>,
    window: NonZeroUsize,
    unacknowledged: VecDeque<Unacknowledged>,
    unavailable: Backoff,
    full: Backoff,
    /// When the last wait for the queue ended.
    waited_until: Option<Instant>,
    /// When a full queue was last logged.
    full_logged: Option<Instant>,
}

/// A chunk that was sent and is not acknowledged.
struct Unacknowledged {
    publication: Publication,
    ack: PublishAck,
    sent: Instant,
}

/// A chunk and its span, which ends with the acknowledgement.
pub(crate) struct Publication {
    pub(crate) chunk: Chunk,
    pub(crate) span: Span,
}

impl Publisher {
    pub(crate) fn new(queue: Arc<dyn Queue>, window: NonZeroUsize, seed: u64) -> Self {
        Self {
            queue,
            window,
            unacknowledged: VecDeque::with_capacity(window.get()),
            unavailable: Backoff::for_calls(seed),
            full: Backoff::new(INITIAL_DELAY, MAX_DELAY_WHILE_FULL, seed),
            waited_until: None,
            full_logged: None,
        }
    }

    /// Sends a chunk, after the oldest are acknowledged if the window is full. An error is permanent.
    pub(crate) async fn publish(&mut self, publication: Publication) -> Result<(), Error> {
        while self.unacknowledged.len() >= self.window.get() {
            self.await_oldest().await?;
        }
        let sent = self.send(publication).await?;
        self.unacknowledged.push_back(sent);
        Ok(())
    }

    /// Waits until every chunk is acknowledged.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        while !self.unacknowledged.is_empty() {
            self.await_oldest().await?;
        }
        Ok(())
    }

    async fn await_oldest(&mut self) -> Result<(), Error> {
        let Some(mut oldest) = self.unacknowledged.pop_front() else {
            return Ok(());
        };
        while let Err(error) = oldest.ack.await {
            self.wait_or_fail(error, &oldest.publication, oldest.sent).await?;
            oldest = self.send(oldest.publication).await?;
        }
        oldest.publication.span.end();
        self.unavailable.reset();
        self.full.reset();
        metrics::counter!(CHUNKS_PUBLISHED).increment(1);
        Ok(())
    }

    async fn send(&mut self, publication: Publication) -> Result<Unacknowledged, Error> {
        loop {
            let sent = Instant::now();
            match self.queue.publish(publication.chunk.clone()).await {
                Ok(ack) => {
                    return Ok(Unacknowledged { publication, ack, sent });
                }
                Err(error) => self.wait_or_fail(error, &publication, sent).await?,
            }
        }
    }

    /// Waits before a chunk that was sent at `sent` is sent again; or returns a permanent error.
    async fn wait_or_fail(
        &mut self,
        error: Error,
        publication: &Publication,
        sent: Instant,
    ) -> Result<(), Error> {
        let Publication { chunk, span } = publication;
        if !error.is_transient() {
            span.event("refusal", [("error", error.to_string().into())]);
            return Err(error);
        }
        metrics::counter!(RETRIES, "part" => "queue").increment(1);
        span.event("retry", [("error", error.to_string().into())]);
        if self.waited_until.is_some_and(|waited| sent < waited) {
            // Chunks that were sent together and failed together wait once.
            return Ok(());
        }
        let full = matches!(error, Error::Full);
        let backoff = if full { &mut self.full } else { &mut self.unavailable };
        let delay = backoff.next_delay();
        if !full || self.should_log_full() {
            chunk.log_span().in_scope(|| {
                tracing::warn!(
                    error = jetline_runtime::causes(&error),
                    delay_ms = jetline_runtime::millis(delay),
                    "publish chunk failed, retrying"
                );
            });
        }
        sleep(delay).await;
        self.waited_until = Some(Instant::now());
        Ok(())
    }

    /// Whether a full queue is to be logged now; notes the time if so.
    fn should_log_full(&mut self) -> bool {
        let due = self.full_logged.is_none_or(|logged| logged.elapsed() >= FULL_LOG_INTERVAL);
        if due {
            self.full_logged = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::SystemTime};

    use async_trait::async_trait;
    use bytes::Bytes;
    use jetline_core::ObjectId;
    use jetline_queue::{QueueDestination, ReceivedChunk, Subject, Wakeup};
    use jetline_runtime::telemetry::SpanKind;

    use super::*;

    /// A queue with a capacity of `room` chunks, which is emptied after every period.
    struct Small {
        room: usize,
        every: Duration,
        begin: Instant,
        held: Mutex<(u128, usize)>,
    }

    impl Small {
        fn new(room: usize, every: Duration) -> Arc<Self> {
            Arc::new(Self { room, every, begin: Instant::now(), held: Mutex::default() })
        }
    }

    #[async_trait]
    impl Queue for Small {
        async fn publish(&self, _: Chunk) -> Result<PublishAck, Error> {
            let period = self.begin.elapsed().as_millis() / self.every.as_millis();
            let mut held = self.held.lock().unwrap();
            if held.0 < period {
                *held = (period, 0);
            }
            // Nothing is consumed in the first period.
            if period == 0 || held.1 == self.room {
                return Ok(Box::pin(async { Err(Error::Full) }));
            }
            held.1 += 1;
            Ok(Box::pin(async { Ok(()) }))
        }

        async fn receive(&self, _: usize) -> Result<Vec<ReceivedChunk>, Error> {
            unreachable!("not called")
        }

        async fn pending(&self, _: &[ObjectId]) -> Result<Vec<u64>, Error> {
            unreachable!("not called")
        }

        fn max_body_bytes(&self) -> usize {
            1
        }

        fn destination(&self) -> QueueDestination {
            QueueDestination { system: "test", name: "small".to_owned() }
        }

        fn wakeup(&self, _: Subject) -> Wakeup {
            Wakeup::default()
        }
    }

    fn publication() -> Publication {
        Publication {
            chunk: Chunk {
                object: ObjectId::MAX,
                incarnation: String::new(),
                dataset: String::new(),
                declaration: 0,
                format: jetline_formats::Format::JsonLines,
                header: Bytes::new(),
                modified_at: None,
                is_redacted: false,
                start: 0,
                end: 1,
                first_line: 1,
                lines: 1,
                oversized: false,
                settled: ObjectId::MAX,
                read_attempt: String::new(),
                trace: None,
                body: Bytes::new(),
            },
            span: Span::begin_at(SpanKind::Producer, String::new(), None, SystemTime::now()),
        }
    }

    const WINDOW: usize = 64;

    /// Publishes `count` chunks and returns how long it took.
    async fn publish(queue: Arc<Small>, count: usize) -> Duration {
        let begin = Instant::now();
        let window = NonZeroUsize::new(WINDOW).unwrap();
        let mut publisher = Publisher::new(queue, window, 1);
        for _ in 0..count {
            publisher.publish(publication()).await.unwrap();
        }
        publisher.flush().await.unwrap();
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn publishing_resumes_soon_after_a_queue_that_was_full_for_long_has_room() {
        let full = Duration::from_mins(10);
        let taken = publish(Small::new(WINDOW, full), WINDOW).await;
        assert!(taken <= full + MAX_DELAY_WHILE_FULL, "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_that_failed_together_wait_once() {
        let every = Duration::from_millis(250);
        // A wait for each chunk of the window would take ten times as long as the queue needs.
        let taken = publish(Small::new(WINDOW, every), WINDOW * 20).await;
        assert!(taken < every * 40, "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn full_queue_is_logged_at_intervals() {
        let queue = Small::new(WINDOW, FULL_LOG_INTERVAL);
        let mut publisher = Publisher::new(queue, NonZeroUsize::MIN, 1);
        assert!(publisher.should_log_full());
        assert!(!publisher.should_log_full());
        sleep(FULL_LOG_INTERVAL).await;
        assert!(publisher.should_log_full());
    }
}
