//! Tells a stream that does not give out what it holds from one whose messages somebody works on.
//!
//! It is judged by progress, not by what the server says of itself: a damaged store counts messages as in flight that
//! nobody has. While a writer waits for its database or its dedup store, it reports progress, which is heard.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use super::{
    broker::{Broker, Holdings},
    hearing::{Heard, Hearing},
};
use crate::Error;

/// Time between two looks counts as no more than this: a process that was stopped has heard nothing meanwhile.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// However often a stream was replaced in vain, it is tried again after this time.
const LONGEST_DELAY: Duration = Duration::from_mins(10);

/// Watches, for a receiver that gets nothing, whether it could.
pub(super) struct Watchdog {
    broker: Arc<Broker>,
    quiet: Quiet,
    hearing: Option<(Hearing, Instant)>,
}

impl Watchdog {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        let quiet = Quiet::new(broker.config.nats_ack_wait);
        Self {
            broker,
            quiet,
            hearing: None,
        }
    }

    /// Something was received.
    pub(super) fn received(&mut self) {
        self.quiet.interrupt();
        self.hearing = None;
    }

    /// Nothing came although it was waited for. Replaces the consumer where it should have, and where that does not help
    /// the stream; what it held is read again. Says whether it replaced something.
    pub(super) async fn look(&mut self, holdings: Holdings) -> Result<bool, Error> {
        let now = Instant::now();
        let (heard, elapsed) = match self.hearing.take() {
            Some((hearing, since)) => (hearing.end(), now - since),
            None => (Heard::Nothing, Duration::ZERO),
        };
        if holdings.messages > 0 {
            self.hearing = Some((Hearing::begin(&self.broker).await?, now));
        }
        let quiet_for = self.quiet.elapsed;
        let stuck = self.quiet.look(holdings, heard, elapsed);
        if stuck == Stuck::No {
            return Ok(false);
        }
        warn!(
            stream = self.broker.config.nats_stream,
            messages = holdings.messages,
            in_flight = holdings.in_flight,
            deliveries = holdings.deliveries,
            quiet_for = ?(quiet_for + elapsed),
            streams_replaced = self.quiet.replaced,
            "nothing is delivered or acknowledged of what the stream holds: its {} is replaced",
            if stuck == Stuck::Consumer { "consumer" } else { "store" }
        );
        self.hearing = None;
        if stuck == Stuck::Consumer {
            self.broker.replace_consumer().await?;
        } else {
            self.broker.replace_stream().await?;
        }
        Ok(true)
    }
}

/// What is to be replaced.
#[derive(Debug, PartialEq, Eq)]
enum Stuck {
    No,
    Consumer,
    Stream,
}

/// How long nothing has happened although something could have.
struct Quiet {
    ack_wait: Duration,
    /// At so many looks in a row.
    looks: u32,
    /// Over so long a time.
    elapsed: Duration,
    /// The holdings at the last look.
    last: Option<Holdings>,
    /// Whether the consumer was replaced since something happened, by whomever.
    is_new_consumer: bool,
    /// How many streams were replaced since one was seen empty.
    replaced: u32,
}

impl Quiet {
    fn new(ack_wait: Duration) -> Self {
        Self {
            ack_wait,
            looks: 0,
            elapsed: Duration::ZERO,
            last: None,
            is_new_consumer: false,
            replaced: 0,
        }
    }

    fn interrupt(&mut self) {
        self.start_over(false);
        self.last = None;
    }

    fn start_over(&mut self, is_new_consumer: bool) {
        self.looks = 0;
        self.elapsed = Duration::ZERO;
        self.is_new_consumer = is_new_consumer;
    }

    fn look(&mut self, now: Holdings, heard: Heard, elapsed: Duration) -> Stuck {
        if now.is_paused {
            self.interrupt();
            return Stuck::No;
        }
        let last = self.last.replace(now);
        if now.messages == 0 {
            self.start_over(false);
            self.replaced = 0;
            return Stuck::No;
        }
        if heard == Heard::Work || last.is_some_and(|last| last.made.stream != now.made.stream) {
            self.start_over(false);
            return Stuck::No;
        }
        if last.is_some_and(|last| last.made.consumer != now.made.consumer) {
            self.start_over(true);
        }
        let is_delivering = now.in_flight == 0
            && last.is_some_and(|last| last.deliveries != now.deliveries && now.deliveries > 0);
        if is_delivering {
            self.start_over(self.is_new_consumer);
        }
        if now.in_flight > 0 && heard == Heard::Nothing {
            return Stuck::No;
        }
        self.looks += 1;
        self.elapsed += elapsed.min(LONGEST_LOOK);
        if self.looks < 2 || self.elapsed < self.limit(now) {
            return Stuck::No;
        }
        if !self.is_new_consumer {
            self.start_over(true);
            return Stuck::Consumer;
        }
        self.start_over(false);
        self.replaced += 1;
        Stuck::Stream
    }

    /// A message that is in flight is acknowledged, reported or delivered again within the acknowledgement wait; where
    /// nothing is in flight, whoever waits gets what is there at once, and another consumer costs nothing. A stream costs
    /// what it holds. Replacing twice in a row waits longer each time.
    fn limit(&self, now: Holdings) -> Duration {
        let in_flight = if now.in_flight > 0 || self.is_new_consumer {
            self.ack_wait * 2
        } else {
            Duration::ZERO
        };
        let again = match self.replaced {
            0 => Duration::ZERO,
            times => self.ack_wait * 2_u32.saturating_pow(times.min(10)),
        };
        in_flight.max(again.min(LONGEST_DELAY))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::broker::Made, *};

    const WAIT: Duration = Duration::from_secs(30);
    const LOOK: Duration = Duration::from_secs(3);

    fn holdings(messages: u64, in_flight: usize, deliveries: u64) -> Holdings {
        Holdings {
            messages,
            in_flight,
            deliveries,
            is_paused: false,
            made: Made {
                stream: 1,
                consumer: 1,
            },
        }
    }

    /// How many looks it takes until something is to be replaced, and what.
    fn looks(quiet: &mut Quiet, now: Holdings, heard: Heard) -> (u32, Stuck) {
        for look in 1..10_000 {
            match quiet.look(now, heard, LOOK) {
                Stuck::No => {}
                stuck => return (look, stuck),
            }
        }
        (10_000, Stuck::No)
    }

    #[test]
    fn consumer_is_replaced_first_and_the_stream_after_twice_the_acknowledgement_wait() {
        let mut quiet = Quiet::new(WAIT);
        let now = holdings(9, 0, 7);
        assert_eq!(looks(&mut quiet, now, Heard::Silence), (2, Stuck::Consumer));
        assert_eq!(looks(&mut quiet, now, Heard::Silence), (20, Stuck::Stream));
    }

    #[test]
    fn what_is_said_to_be_in_flight_is_believed_for_twice_the_acknowledgement_wait() {
        let mut quiet = Quiet::new(WAIT);
        let now = holdings(9, 9, 7);
        assert_eq!(
            looks(&mut quiet, now, Heard::Silence),
            (20, Stuck::Consumer)
        );
        assert_eq!(looks(&mut quiet, now, Heard::Silence), (20, Stuck::Stream));
    }

    #[test]
    fn nothing_is_stuck_where_others_work_or_nothing_is_there() {
        let mut quiet = Quiet::new(WAIT);
        for _ in 0..1000 {
            assert_eq!(
                quiet.look(holdings(9, 0, 7), Heard::Silence, LOOK),
                Stuck::No
            );
            assert_eq!(quiet.look(holdings(9, 1, 7), Heard::Work, LOOK), Stuck::No);
            assert_eq!(
                quiet.look(holdings(9, 0, 7), Heard::Silence, LOOK),
                Stuck::No
            );
            assert_eq!(
                quiet.look(holdings(0, 0, 7), Heard::Silence, LOOK),
                Stuck::No
            );
        }
    }

    #[test]
    fn consumer_that_somebody_paused_is_not_stuck() {
        let mut quiet = Quiet::new(WAIT);
        let now = Holdings {
            is_paused: true,
            ..holdings(9, 0, 7)
        };
        let (_, stuck) = looks(&mut quiet, now, Heard::Silence);
        assert_eq!(stuck, Stuck::No);
    }

    #[test]
    fn receiver_that_cannot_hear_does_not_doubt_what_is_in_flight() {
        let mut quiet = Quiet::new(WAIT);
        let (_, stuck) = looks(&mut quiet, holdings(9, 9, 7), Heard::Nothing);
        assert_eq!(stuck, Stuck::No);
    }

    #[test]
    fn process_that_was_stopped_has_not_waited() {
        let mut quiet = Quiet::new(WAIT);
        let now = holdings(9, 9, 7);
        for _ in 0..5 {
            let hour = Duration::from_hours(1);
            assert_eq!(quiet.look(now, Heard::Silence, hour), Stuck::No);
        }
    }

    #[test]
    fn what_another_one_replaced_is_not_replaced_again_at_once() {
        let mut quiet = Quiet::new(WAIT);
        let now = holdings(9, 0, 0);
        assert_eq!(quiet.look(now, Heard::Silence, LOOK), Stuck::No);
        let mut theirs = now;
        theirs.made.consumer = 2;
        assert_eq!(
            looks(&mut quiet, theirs, Heard::Silence),
            (20, Stuck::Stream)
        );
        let mut theirs = now;
        theirs.made.stream = 2;
        assert_eq!(quiet.look(theirs, Heard::Silence, LOOK), Stuck::No);
    }

    #[test]
    fn streams_are_replaced_ever_more_rarely_until_one_is_empty() {
        let mut quiet = Quiet::new(WAIT);
        let now = holdings(9, 0, 7);
        let replace = |quiet: &mut Quiet| {
            let (consumer, _) = looks(quiet, now, Heard::Silence);
            let (stream, stuck) = looks(quiet, now, Heard::Silence);
            assert_eq!(stuck, Stuck::Stream);
            consumer + stream
        };
        let all: Vec<u32> = (0..7).map(|_| replace(&mut quiet)).collect();
        assert_eq!(all, [22, 40, 80, 160, 320, 400, 400]);
        quiet.look(holdings(0, 0, 7), Heard::Silence, LOOK);
        assert_eq!(replace(&mut quiet), 22);
    }
}
