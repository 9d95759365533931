//! A delivery and what changes it: a change of its record, the begin of an attempt, and its outcome. No I/O.

#[cfg(test)]
mod schedules;

use std::time::Duration;

use jetline_core::{Fingerprint, Rank};
use jetline_datasets::{ChangeKind, Destination};

/// A change that a commit appended for a destination.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Increases with the commits of a key.
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) kind: ChangeKind,
    /// Whether it deletes a record that the table did not have.
    pub(crate) was_absent: bool,
    pub(crate) rank: Rank,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) due_at: i64,
    /// Why it cannot be delivered.
    pub(crate) error: Option<String>,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is to be delivered when it is due.
    Waiting,
    /// The destination acknowledged the content.
    Delivered,
    /// It was refused or is too old: it is delivered again only by command, or when the record changes.
    Dead,
    /// The destination does not want changes of this kind.
    Ignored,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Delivered, Self::Dead, Self::Ignored];

    /// Its name in the database and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Ignored => "ignored",
        }
    }
}

/// What a destination is to know of a record, and what is known of that: a row of the outbox. Times are milliseconds since
/// 1970 by the clock of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) key: String,
    pub(crate) kind: ChangeKind,
    /// Version and position of the line that set the content.
    pub(crate) rank: Rank,
    /// The change that set the content.
    pub(crate) revision: i64,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) state: DeliveryState,
    /// When the next attempt may begin; none unless it is waiting.
    pub(crate) due_at: Option<i64>,
    /// When the first attempt might begin.
    pub(crate) first_due_at: i64,
    /// Attempts to deliver this content.
    pub(crate) attempts: i64,
    /// An attempt whose outcome is not recorded.
    pub(crate) lease: Option<Lease>,
    /// The content that the destination acknowledged last; none where it is unknown what it has.
    pub(crate) acknowledged: Option<Fingerprint>,
    /// The HTTP status of the last attempt.
    pub(crate) status: Option<i64>,
    pub(crate) error: Option<String>,
    /// When it was delivered or dead.
    pub(crate) ended_at: Option<i64>,
}

/// The right to make an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) token: String,
    pub(crate) until: i64,
    /// The revision that is delivered.
    pub(crate) revision: i64,
}

/// A delivery with a delay that ended before it was made, because of a newer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cancellation {
    pub(crate) key: String,
    pub(crate) rank: Rank,
    pub(crate) by: Rank,
}

/// An attempt: what is delivered, by which lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The text of the record's key.
    pub key: String,
    /// The change.
    pub kind: ChangeKind,
    /// Version and position of the line that set the content.
    pub rank: Rank,
    /// Tells contents of the same rank apart.
    pub revision: i64,
    /// The content.
    pub fingerprint: Fingerprint,
    /// The number of the attempt, from 1.
    pub number: i64,
    /// How long ago the first attempt might begin.
    pub age: Duration,
    pub(crate) token: String,
}

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The destination acknowledged it.
    Delivered {
        /// The HTTP status.
        status: u16,
    },
    /// It failed, and the next attempt may begin after a while.
    Retry {
        /// How long after now.
        after: Duration,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// Why it failed.
        error: String,
    },
    /// It failed for good.
    Dead {
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// Why it failed.
        error: String,
    },
    /// Nothing was sent; the next attempt may begin after a while.
    Released {
        /// How long after now.
        after: Duration,
    },
}

impl Delivery {
    /// The delivery after a change, unless a later one is known already; and the delivery that will not be made because of
    /// another. `before` is the one of the same key.
    pub(crate) fn wanted(
        before: Option<&Self>,
        change: Change,
        destination: &Destination,
        now: i64,
    ) -> (Option<Self>, Option<Cancellation>) {
        let has_delay = destination.delay.is_some();
        if let Some(newer) = before.filter(|before| before.revision >= change.id) {
            let cancelled = Cancellation { key: change.key, rank: change.rank, by: newer.rank };
            let is_cancelled = has_delay && destination.wants(change.kind);
            return (None, Some(cancelled).filter(|_| is_cancelled));
        }
        let kind = match before {
            // What the destination was not told yet, or was told to be deleted, is new to it.
            Some(before)
                if change.kind == ChangeKind::Updated && before.is_unknown_to_destination() =>
            {
                ChangeKind::Inserted
            }
            _ => change.kind,
        };
        let cancelled = before.filter(|before| {
            has_delay
                && before.state == DeliveryState::Waiting
                && before.lease.as_ref().is_none_or(|lease| lease.revision != before.revision)
        });
        let cancelled = cancelled.map(|before| Cancellation {
            key: before.key.clone(),
            rank: before.rank,
            by: change.rank,
        });
        // A deleted record that nobody knew is not worth a delivery.
        let is_wanted = destination.wants(kind) && !(before.is_none() && change.was_absent);
        let mut wanted = Self {
            key: change.key,
            kind,
            rank: change.rank,
            revision: change.id,
            fingerprint: change.fingerprint,
            state: DeliveryState::Ignored,
            due_at: None,
            first_due_at: change.due_at,
            attempts: 0,
            lease: before.and_then(|before| before.lease.clone()),
            acknowledged: before.and_then(|before| before.acknowledged).filter(|_| is_wanted),
            status: None,
            error: None,
            ended_at: None,
        };
        // While an attempt is under way, nobody knows what the destination has.
        let is_known = is_wanted && wanted.lease.is_none();
        if is_known && wanted.acknowledged == Some(wanted.fingerprint) {
            wanted.state = DeliveryState::Delivered;
            wanted.ended_at = Some(now);
        } else if let Some(error) = change.error.filter(|_| is_wanted) {
            wanted.die(now, None, error);
        } else if is_wanted {
            wanted.state = DeliveryState::Waiting;
            let until = wanted.lease.as_ref().map_or(0, |lease| lease.until);
            wanted.due_at = Some(change.due_at.max(until));
        }
        (Some(wanted), cancelled)
    }

    /// Whether the destination, as far as it was told, has no such record.
    fn is_unknown_to_destination(&self) -> bool {
        match self.kind {
            ChangeKind::Deleted => true,
            ChangeKind::Inserted => {
                let is_open = matches!(self.state, DeliveryState::Waiting | DeliveryState::Dead);
                is_open && self.acknowledged != Some(self.fingerprint)
            }
            ChangeKind::Updated => false,
        }
    }

    fn die(&mut self, now: i64, status: Option<u16>, error: String) {
        self.state = DeliveryState::Dead;
        self.due_at = None;
        self.status = status.map(i64::from);
        self.error = Some(error);
        self.ended_at = Some(now);
    }

    /// The destination was told an earlier content of a record that was new to it: this one is an update.
    fn told(&mut self, destination: &Destination) {
        self.kind = ChangeKind::Updated;
        if !destination.wants(ChangeKind::Updated) {
            self.state = DeliveryState::Ignored;
            self.acknowledged = None;
            self.due_at = None;
        }
    }

    /// Begins an attempt: nobody else begins one until the lease expires or its outcome is recorded.
    pub(crate) fn begin(&mut self, token: &str, now: i64, term: Duration) -> Attempt {
        if self.lease.is_some() {
            // The outcome of the attempt before is unknown: its process has crashed.
            self.acknowledged = None;
        }
        let until = now.saturating_add(milliseconds(term));
        self.attempts += 1;
        self.due_at = Some(until);
        self.lease = Some(Lease { token: token.to_owned(), until, revision: self.revision });
        let age = u64::try_from(now.saturating_sub(self.first_due_at)).unwrap_or(0);
        Attempt {
            key: self.key.clone(),
            kind: self.kind,
            rank: self.rank,
            revision: self.revision,
            fingerprint: self.fingerprint,
            number: self.attempts,
            age: Duration::from_millis(age),
            token: token.to_owned(),
        }
    }

    /// Records the outcome of an attempt. Returns whether the attempt was still the one that is under way, and the delivery
    /// that will not be made any more.
    pub(crate) fn end(
        &mut self,
        attempt: &Attempt,
        outcome: &AttemptOutcome,
        destination: &Destination,
        now: i64,
    ) -> (bool, Option<Cancellation>) {
        if self.lease.as_ref().is_none_or(|lease| lease.token != attempt.token) {
            return (false, None);
        }
        self.lease = None;
        let is_wanted = self.state == DeliveryState::Waiting;
        let is_current = is_wanted && self.revision == attempt.revision;
        if !matches!(outcome, AttemptOutcome::Released { .. }) {
            self.acknowledged = None;
        }
        if is_wanted {
            self.due_at = Some(self.first_due_at);
        }
        match outcome {
            AttemptOutcome::Delivered { status } => {
                self.acknowledged = Some(attempt.fingerprint).filter(|_| is_wanted);
                if is_current {
                    self.status = Some((*status).into());
                    self.error = None;
                } else if is_wanted
                    && self.kind == ChangeKind::Inserted
                    && attempt.kind != ChangeKind::Deleted
                {
                    self.told(destination);
                }
            }
            AttemptOutcome::Retry { after, status, error } if is_current => {
                self.due_at = Some(now.saturating_add(milliseconds(*after)));
                self.status = status.map(i64::from);
                self.error = Some(error.clone());
            }
            AttemptOutcome::Dead { status, error } if is_current => {
                self.die(now, *status, error.clone());
            }
            AttemptOutcome::Released { after } if is_current => {
                self.attempts -= 1;
                self.due_at = Some(now.saturating_add(milliseconds(*after)));
            }
            _ => {}
        }
        let is_known = self.acknowledged == Some(self.fingerprint);
        let is_answered = matches!(outcome, AttemptOutcome::Delivered { .. });
        // A delivery that is made again by command is of a content that was acknowledged.
        if self.state == DeliveryState::Waiting && is_known && (is_answered || !is_current) {
            self.state = DeliveryState::Delivered;
            self.due_at = None;
            self.ended_at = Some(now);
        }
        let is_cancelled = destination.delay.is_some()
            && self.revision != attempt.revision
            && !matches!(outcome, AttemptOutcome::Delivered { .. });
        let cancelled = is_cancelled.then(|| Cancellation {
            key: self.key.clone(),
            rank: attempt.rank,
            by: self.rank,
        });
        (true, cancelled)
    }
}

pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
