//! Detects a stalled stream: one that has messages but delivers none, while no receiver works on them.
//!
//! The decision is based on observed progress, not on the server's counts: a damaged store counts messages as in flight
//! that no receiver has. A writer that waits for its database or dedup store reports progress, which is observed here.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use super::{
    broker::{Broker, StreamState},
    progress_listener::{Activity, ProgressListener},
};
use crate::Error;

/// The time between two checks counts at most this much: a process that was stopped has observed nothing meanwhile.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The maximum delay between two replacements of a stream.
const MAX_REPLACE_DELAY: Duration = Duration::from_mins(10);

/// Checks the stream for a receiver that gets no messages.
pub(super) struct Watchdog {
    broker: Arc<Broker>,
    detector: StallDetector,
    listener: Option<(ProgressListener, Instant)>,
}

impl Watchdog {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        let detector = StallDetector::new(broker.config.nats_ack_wait);
        Self { broker, detector, listener: None }
    }

    /// A message was received.
    pub(super) fn received(&mut self) {
        self.detector.reset();
        self.listener = None;
    }

    /// A wait brought no message. If the stream is stalled, replaces the consumer, and if that does not help, the stream,
    /// whose messages are then read again. Returns whether anything was replaced.
    pub(super) async fn check(&mut self, state: StreamState) -> Result<bool, Error> {
        let now = Instant::now();
        let (activity, elapsed) = match self.listener.take() {
            Some((listener, since)) => (listener.activity(), now - since),
            None => (Activity::Unknown, Duration::ZERO),
        };
        if state.messages > 0 {
            self.listener = Some((ProgressListener::start(&self.broker).await?, now));
        }
        let stalled_for = self.detector.elapsed;
        let stalled = self.detector.check(state, activity, elapsed);
        if stalled == Stalled::No {
            return Ok(false);
        }
        warn!(
            stream = self.broker.config.nats_stream,
            messages = state.messages,
            in_flight = state.in_flight,
            deliveries = state.deliveries,
            stalled_for = ?(stalled_for + elapsed),
            streams_replaced = self.detector.replaced,
            "stream is stalled, replacing its {}",
            if stalled == Stalled::Consumer { "consumer" } else { "store" }
        );
        self.listener = None;
        if stalled == Stalled::Consumer {
            self.broker.replace_consumer().await?;
        } else {
            self.broker.replace_stream().await?;
        }
        Ok(true)
    }
}

/// What is stalled and must be replaced.
#[derive(Debug, PartialEq, Eq)]
enum Stalled {
    No,
    Consumer,
    Stream,
}

/// Measures how long there was no progress although there could have been.
struct StallDetector {
    ack_wait: Duration,
    /// The number of successive checks without progress.
    checks: u32,
    /// Their total time.
    elapsed: Duration,
    /// The state at the last check.
    last: Option<StreamState>,
    /// Whether the consumer was replaced since the last progress, by any process.
    is_new_consumer: bool,
    /// How many streams were replaced since one was empty.
    replaced: u32,
}

impl StallDetector {
    fn new(ack_wait: Duration) -> Self {
        Self {
            ack_wait,
            checks: 0,
            elapsed: Duration::ZERO,
            last: None,
            is_new_consumer: false,
            replaced: 0,
        }
    }

    fn reset(&mut self) {
        self.start_over(false);
        self.last = None;
    }

    fn start_over(&mut self, is_new_consumer: bool) {
        self.checks = 0;
        self.elapsed = Duration::ZERO;
        self.is_new_consumer = is_new_consumer;
    }

    fn check(&mut self, now: StreamState, activity: Activity, elapsed: Duration) -> Stalled {
        if now.is_paused {
            self.reset();
            return Stalled::No;
        }
        let last = self.last.replace(now);
        if now.messages == 0 {
            self.start_over(false);
            self.replaced = 0;
            return Stalled::No;
        }
        if activity == Activity::Active
            || last.is_some_and(|last| last.created.stream != now.created.stream)
        {
            self.start_over(false);
            return Stalled::No;
        }
        if last.is_some_and(|last| last.created.consumer != now.created.consumer) {
            self.start_over(true);
        }
        let is_delivering = now.in_flight == 0
            && last.is_some_and(|last| last.deliveries != now.deliveries && now.deliveries > 0);
        if is_delivering {
            self.start_over(self.is_new_consumer);
        }
        if now.in_flight > 0 && activity == Activity::Unknown {
            return Stalled::No;
        }
        self.checks += 1;
        self.elapsed += elapsed.min(MAX_CHECK_INTERVAL);
        if self.checks < 2 || self.elapsed < self.limit(now) {
            return Stalled::No;
        }
        if !self.is_new_consumer {
            self.start_over(true);
            return Stalled::Consumer;
        }
        self.start_over(false);
        self.replaced += 1;
        Stalled::Stream
    }

    /// How long there may be no progress. A message in flight is acknowledged, reported or redelivered within the
    /// acknowledgement wait. If nothing is in flight, a waiting receiver gets available messages at once, and replacing the
    /// consumer loses nothing. Replacing the stream loses its messages, so the limit grows with each replacement.
    fn limit(&self, now: StreamState) -> Duration {
        let in_flight = if now.in_flight > 0 || self.is_new_consumer {
            self.ack_wait * 2
        } else {
            Duration::ZERO
        };
        let again = match self.replaced {
            0 => Duration::ZERO,
            times => self.ack_wait * 2_u32.saturating_pow(times.min(10)),
        };
        in_flight.max(again.min(MAX_REPLACE_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::broker::CreatedAt, *};

    const ACK_WAIT: Duration = Duration::from_secs(30);
    const CHECK_INTERVAL: Duration = Duration::from_secs(3);

    fn state(messages: u64, in_flight: usize, deliveries: u64) -> StreamState {
        StreamState {
            messages,
            in_flight,
            deliveries,
            is_paused: false,
            created: CreatedAt { stream: 1, consumer: 1 },
        }
    }

    /// The number of checks until something is to be replaced, and what.
    fn checks(
        detector: &mut StallDetector,
        now: StreamState,
        activity: Activity,
    ) -> (u32, Stalled) {
        for check in 1..10_000 {
            match detector.check(now, activity, CHECK_INTERVAL) {
                Stalled::No => {}
                stalled => return (check, stalled),
            }
        }
        (10_000, Stalled::No)
    }

    #[test]
    fn consumer_is_replaced_first_and_the_stream_after_twice_the_acknowledgement_wait() {
        let mut detector = StallDetector::new(ACK_WAIT);
        let now = state(9, 0, 7);
        assert_eq!(checks(&mut detector, now, Activity::Idle), (2, Stalled::Consumer));
        assert_eq!(checks(&mut detector, now, Activity::Idle), (20, Stalled::Stream));
    }

    #[test]
    fn messages_in_flight_are_waited_for_twice_the_acknowledgement_wait() {
        let mut detector = StallDetector::new(ACK_WAIT);
        let now = state(9, 9, 7);
        assert_eq!(checks(&mut detector, now, Activity::Idle), (20, Stalled::Consumer));
        assert_eq!(checks(&mut detector, now, Activity::Idle), (20, Stalled::Stream));
    }

    #[test]
    fn active_or_empty_stream_is_not_stalled() {
        let mut detector = StallDetector::new(ACK_WAIT);
        for _ in 0..1000 {
            assert_eq!(detector.check(state(9, 0, 7), Activity::Idle, CHECK_INTERVAL), Stalled::No);
            assert_eq!(
                detector.check(state(9, 1, 7), Activity::Active, CHECK_INTERVAL),
                Stalled::No
            );
            assert_eq!(detector.check(state(9, 0, 7), Activity::Idle, CHECK_INTERVAL), Stalled::No);
            assert_eq!(detector.check(state(0, 0, 7), Activity::Idle, CHECK_INTERVAL), Stalled::No);
        }
    }

    #[test]
    fn paused_consumer_is_not_stalled() {
        let mut detector = StallDetector::new(ACK_WAIT);
        let now = StreamState { is_paused: true, ..state(9, 0, 7) };
        let (_, stalled) = checks(&mut detector, now, Activity::Idle);
        assert_eq!(stalled, Stalled::No);
    }

    #[test]
    fn unknown_activity_with_messages_in_flight_is_not_stalled() {
        let mut detector = StallDetector::new(ACK_WAIT);
        let (_, stalled) = checks(&mut detector, state(9, 9, 7), Activity::Unknown);
        assert_eq!(stalled, Stalled::No);
    }

    #[test]
    fn time_of_a_stopped_process_does_not_count() {
        let mut detector = StallDetector::new(ACK_WAIT);
        let now = state(9, 9, 7);
        for _ in 0..5 {
            let hour = Duration::from_hours(1);
            assert_eq!(detector.check(now, Activity::Idle, hour), Stalled::No);
        }
    }

    #[test]
    fn consumer_or_stream_replaced_by_another_process_is_not_replaced_again_at_once() {
        let mut detector = StallDetector::new(ACK_WAIT);
        let now = state(9, 0, 0);
        assert_eq!(detector.check(now, Activity::Idle, CHECK_INTERVAL), Stalled::No);
        let mut theirs = now;
        theirs.created.consumer = 2;
        assert_eq!(checks(&mut detector, theirs, Activity::Idle), (20, Stalled::Stream));
        let mut theirs = now;
        theirs.created.stream = 2;
        assert_eq!(detector.check(theirs, Activity::Idle, CHECK_INTERVAL), Stalled::No);
    }

    #[test]
    fn delay_between_replacements_grows_until_a_stream_is_empty() {
        let mut detector = StallDetector::new(ACK_WAIT);
        let now = state(9, 0, 7);
        let replace = |detector: &mut StallDetector| {
            let (consumer, _) = checks(detector, now, Activity::Idle);
            let (stream, stalled) = checks(detector, now, Activity::Idle);
            assert_eq!(stalled, Stalled::Stream);
            consumer + stream
        };
        let all: Vec<u32> = (0..7).map(|_| replace(&mut detector)).collect();
        assert_eq!(all, [22, 40, 80, 160, 320, 400, 400]);
        detector.check(state(0, 0, 7), Activity::Idle, CHECK_INTERVAL);
        assert_eq!(replace(&mut detector), 22);
    }
}
