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
use tokio::time::{Instant, sleep};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// A full queue works, and is soon less full: writers must not run dry before the fetcher looks again, which sends a
/// whole chunk.
const LONGEST_DELAY_WHILE_FULL: Duration = Duration::from_secs(1);

/// How often the log says that the queue is full.
const TELL: Duration = Duration::from_secs(5);

pub(crate) struct Publisher {
    queue: Arc<dyn Queue>,
    window: NonZeroUsize,
    in_flight: VecDeque<InFlight>,
    away: Backoff,
    full: Backoff,
    /// When the last wait for the queue was over.
    waited: Option<Instant>,
    /// When the log last said that the queue is full.
    told: Option<Instant>,
}

/// A chunk that was sent and is not acknowledged yet.
struct InFlight {
    publication: Publication,
    ack: PublishAck,
    sent: Instant,
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
            in_flight: VecDeque::with_capacity(window.get()),
            away: Backoff::new(FIRST_DELAY, LONGEST_DELAY, seed),
            full: Backoff::new(FIRST_DELAY, LONGEST_DELAY_WHILE_FULL, seed),
            waited: None,
            told: None,
        }
    }

    /// Sends a chunk, after waiting for the oldest ones where the window is full. An error says that waiting will not help.
    pub(crate) async fn publish(&mut self, publication: Publication) -> Result<(), Error> {
        while self.in_flight.len() >= self.window.get() {
            self.settle_oldest().await?;
        }
        let sent = self.send(publication).await?;
        self.in_flight.push_back(sent);
        Ok(())
    }

    /// Waits until the queue has taken everything.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        while !self.in_flight.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Result<(), Error> {
        let Some(mut oldest) = self.in_flight.pop_front() else {
            return Ok(());
        };
        while let Err(error) = oldest.ack.await {
            self.wait(error, &oldest.publication, oldest.sent).await?;
            oldest = self.send(oldest.publication).await?;
        }
        oldest.publication.span.end();
        self.away.reset();
        self.full.reset();
        metrics::counter!(CHUNKS_PUBLISHED).increment(1);
        Ok(())
    }

    async fn send(&mut self, publication: Publication) -> Result<InFlight, Error> {
        loop {
            let sent = Instant::now();
            match self.queue.publish(publication.chunk.clone()).await {
                Ok(ack) => {
                    return Ok(InFlight {
                        publication,
                        ack,
                        sent,
                    });
                }
                Err(error) => self.wait(error, &publication, sent).await?,
            }
        }
    }

    /// Waits before a chunk is sent again that was sent then and not taken.
    async fn wait(
        &mut self,
        error: Error,
        publication: &Publication,
        sent: Instant,
    ) -> Result<(), Error> {
        let Publication { chunk, span } = publication;
        if !error.is_passing() {
            span.event("refusal", [("error", error.to_string().into())]);
            return Err(error);
        }
        metrics::counter!(RETRIES, "part" => "queue").increment(1);
        span.event("retry", [("error", error.to_string().into())]);
        if self.waited.is_some_and(|waited| sent < waited) {
            // The wait for one of those that were sent together is the wait for all.
            return Ok(());
        }
        let full = matches!(error, Error::Full);
        let backoff = if full { &mut self.full } else { &mut self.away };
        let delay = backoff.next_delay();
        if !full || self.is_time_to_tell() {
            chunk.log_span().in_scope(|| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    ?delay,
                    "the fetcher waits for the queue"
                );
            });
        }
        sleep(delay).await;
        self.waited = Some(Instant::now());
        Ok(())
    }

    /// Whether the log has not said for a while that the queue is full; it does now.
    fn is_time_to_tell(&mut self) -> bool {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::SystemTime};

    use async_trait::async_trait;
    use bytes::Bytes;
    use jetline_queue::{Delivery, Destination};
    use jetline_records::ObjectId;
    use jetline_runtime::telemetry::SpanKind;

    use super::*;

    /// A queue that holds so many chunks, and is emptied every so often.
    struct Small {
        room: usize,
        every: Duration,
        begin: Instant,
        held: Mutex<(u128, usize)>,
    }

    impl Small {
        fn new(room: usize, every: Duration) -> Arc<Self> {
            Arc::new(Self {
                room,
                every,
                begin: Instant::now(),
                held: Mutex::default(),
            })
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
            // Nobody consumes in the first period.
            if period == 0 || held.1 == self.room {
                return Ok(Box::pin(async { Err(Error::Full) }));
            }
            held.1 += 1;
            Ok(Box::pin(async { Ok(()) }))
        }

        async fn receive(&self, _: usize) -> Result<Vec<Delivery>, Error> {
            unreachable!("nobody receives")
        }

        async fn pending(&self, _: ObjectId) -> Result<u64, Error> {
            unreachable!("nobody asks")
        }

        async fn pending_of_each(&self, _: &[ObjectId]) -> Result<Vec<u64>, Error> {
            unreachable!("nobody asks")
        }

        fn max_body_bytes(&self) -> usize {
            1
        }

        fn destination(&self) -> Destination {
            Destination {
                system: "test",
                name: "small".to_owned(),
            }
        }
    }

    fn publication() -> Publication {
        Publication {
            chunk: Chunk {
                object: ObjectId::MAX,
                registration: String::new(),
                dataset: String::new(),
                start: 0,
                end: 1,
                first_line: 1,
                lines: 1,
                oversized: false,
                settled: ObjectId::MAX,
                reading: String::new(),
                trace: None,
                body: Bytes::new(),
            },
            span: Span::begin_at(SpanKind::Producer, String::new(), None, SystemTime::now()),
        }
    }

    const WINDOW: usize = 64;

    /// How long so many chunks take.
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
    async fn queue_that_was_full_for_long_is_used_as_soon_as_it_has_room() {
        let full = Duration::from_mins(10);
        let taken = publish(Small::new(WINDOW, full), WINDOW).await;
        assert!(taken <= full + LONGEST_DELAY_WHILE_FULL, "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_were_refused_together_wait_once() {
        let every = Duration::from_millis(250);
        // A wait of its own for each of the window would take ten times as long as the queue needs for them.
        let taken = publish(Small::new(WINDOW, every), WINDOW * 20).await;
        assert!(taken < every * 40, "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn log_says_every_few_seconds_that_the_queue_is_full() {
        let queue = Small::new(WINDOW, TELL);
        let mut publisher = Publisher::new(queue, NonZeroUsize::MIN, 1);
        assert!(publisher.is_time_to_tell());
        assert!(!publisher.is_time_to_tell());
        sleep(TELL).await;
        assert!(publisher.is_time_to_tell());
    }
}
