//! Notices writers that end each other's epochs for ever: some of them have another dedup store, or another ledger has
//! the same one. The table stays right meanwhile, but little is done: it is said, and slowed down.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use jetline_dedup::{Dedup, Place};
use jetline_records::{EpochId, LedgerIdentity};
use jetline_store::{
    Ledger,
    ledger::{BeginError, LastStore, NewStore},
};

use crate::epochs::Error;

/// A change of the store is one in a row with those before if it comes so soon after the last of them.
const ROW: TimeDelta = TimeDelta::minutes(30);

/// Epochs may return to a store this often in a row: a failover and the way back.
const USUAL: u32 = 1;

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_mins(1);

pub(crate) struct Contention {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
}

/// Where an epoch is about to begin.
pub(crate) struct Approached {
    place: Place,
    ours: LedgerIdentity,
    /// How often in a row epochs returned to a store, or met another ledger in it, this time included.
    changes: u32,
    is_changed: bool,
    is_contended: bool,
    last: Option<LastStore>,
}

impl Contention {
    pub(crate) fn new(ledger: Ledger, dedup: Arc<dyn Dedup>) -> Self {
        Self { ledger, dedup }
    }

    /// Before an epoch begins that follows `ended`: waits where epochs begin in one store after another.
    ///
    /// Nothing else depends on it: an epoch begins without it, too.
    pub(crate) async fn approach(&self, ended: Option<EpochId>) -> Option<Approached> {
        let approached = match self.look().await {
            Ok(approached) => approached?,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "it is not known where the epoch begins");
                return None;
            }
        };
        let in_force = approached.last.as_ref().map(|last| last.epoch);
        if approached.is_changed && ended.is_some() && in_force == ended {
            approached.tell();
            tokio::time::sleep(delay(approached.changes)).await;
        }
        Some(approached)
    }

    async fn look(&self) -> Result<Option<Approached>, Error> {
        let Some(place) = self.dedup.place().await.map_err(BeginError::Dedup)? else {
            return Ok(None);
        };
        let ours = self.ledger.identity().await?;
        let last = self.ledger.last_store().await?;
        let known = last.as_ref().and_then(|last| last.identity.as_ref());
        let is_other_store = known.is_some_and(|known| *known != place.identity);
        let is_other_ledger = place.ledger.as_ref().is_some_and(|theirs| *theirs != ours);
        // A server that was restarted is another one as well, but nobody returns to what it was.
        let before = last.as_ref().and_then(|last| last.before.as_ref());
        let is_return = is_other_store && before == Some(&place.identity);
        let is_contended = is_return || is_other_ledger;
        Ok(Some(Approached {
            changes: changes(last.as_ref()) + u32::from(is_contended),
            place,
            ours,
            is_changed: is_other_store || is_other_ledger,
            is_contended,
            last,
        }))
    }

    /// Notes where an epoch began, which is told to whoever begins the next one.
    pub(crate) async fn note(&self, epoch: EpochId, approached: Approached) {
        let store = NewStore {
            address: approached.place.address,
            identity: approached.place.identity,
            changes: approached.changes,
            is_changed: approached.is_contended,
        };
        if let Err(error) = self.ledger.note_store(epoch, store).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the epoch's dedup store was not noted");
        }
        if let Err(error) = self.dedup.sign(&approached.ours).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the dedup store does not know whose epoch begins");
        }
    }
}

/// How often in a row the store has changed, until now.
fn changes(last: Option<&LastStore>) -> u32 {
    let last = last.filter(|last| last.changed_ago.is_some_and(|ago| ago < ROW));
    last.map_or(0, |last| last.changes)
}

impl Approached {
    fn tell(&self) {
        let Place {
            address, identity, ..
        } = &self.place;
        let last = self.last.as_ref();
        let their_address = last.and_then(|last| last.address.as_deref());
        let their_identity = last.and_then(|last| last.identity.as_deref());
        let (ledger, theirs) = (&self.ours, self.place.ledger.as_ref());
        let their_ledger = theirs.filter(|theirs| *theirs != ledger);
        let (changes, delay) = (self.changes, delay(self.changes));
        if let Some(their_ledger) = their_ledger {
            tracing::error!(
                address, identity, %ledger, %their_ledger, changes, ?delay,
                "another ledger uses this dedup store, and each ends the other's epochs: \
                 give each deployment a REDIS_PREFIX of its own"
            );
        } else if changes > USUAL {
            tracing::error!(
                address,
                identity,
                their_address,
                their_identity,
                changes,
                ?delay,
                "writers use different dedup stores, and end each other's epochs: \
                 give all of them the same REDIS_URL and REDIS_PREFIX"
            );
        } else {
            tracing::warn!(
                address,
                identity,
                their_address,
                their_identity,
                "the epoch begins in another dedup store than the last one"
            );
        }
    }
}

/// Longer each time, so that work is done between two epochs.
fn delay(changes: u32) -> Duration {
    match changes.checked_sub(USUAL + 1) {
        None => Duration::ZERO,
        Some(more) => (FIRST_DELAY * 2_u32.saturating_pow(more.min(10))).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_begin_ever_more_rarely_while_stores_take_turns() {
        let seconds: Vec<u64> = (0..10).map(|changes| delay(changes).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }
}
