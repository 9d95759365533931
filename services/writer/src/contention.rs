//! Detects writers that end each other's epochs again and again: some of them use another dedup store, or another
//! ledger uses the same one. The table stays correct, but throughput drops: this is logged, and new epochs are delayed.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use jetline_core::{EpochId, LedgerIdentity};
use jetline_dedup::{Dedup, StoreInfo};
use jetline_store::{
    Ledger,
    epochs::{BeginError, LastDedupStore, NewDedupStore},
};

/// The count begins again after this time without a return.
const RESET_AFTER: TimeDelta = TimeDelta::minutes(30);

/// One return causes no delay: Redis failed over and back.
const TOLERATED_RETURNS: u32 = 1;

const INITIAL_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_mins(1);

pub(crate) struct Contention {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
}

/// The dedup store in which an epoch is about to begin, compared with that of the last one.
pub(crate) struct StoreCheck {
    store: StoreInfo,
    ours: LedgerIdentity,
    /// How often in a series epochs returned to a store, or found another ledger in it, this time included.
    returns: u32,
    is_changed: bool,
    is_contended: bool,
    last: Option<LastDedupStore>,
}

impl Contention {
    pub(crate) fn new(ledger: Ledger, dedup: Arc<dyn Dedup>) -> Self {
        Self { ledger, dedup }
    }

    /// To be called before an epoch begins that follows `ended`: logs and delays it where stores are in contention.
    ///
    /// Only a diagnosis: where it fails, the epoch begins without it.
    pub(crate) async fn log_and_delay_if_contended(
        &self,
        ended: Option<EpochId>,
    ) -> Option<StoreCheck> {
        let check = match self.compare().await {
            Ok(check) => check?,
            Err(error) => {
                let error = jetline_runtime::causes(&error);
                tracing::debug!(error, "check dedup store for contention failed");
                return None;
            }
        };
        let in_force = check.last.as_ref().map(|last| last.epoch);
        // Otherwise another process began an epoch meanwhile, and has logged.
        if check.is_changed && ended.is_some() && in_force == ended {
            check.log();
            tokio::time::sleep(delay(check.returns)).await;
        }
        Some(check)
    }

    async fn compare(&self) -> Result<Option<StoreCheck>, BeginError<jetline_dedup::Error>> {
        let Some(store) = self.dedup.store_info().await.map_err(BeginError::Dedup)? else {
            return Ok(None);
        };
        let ours = self.ledger.database().identity().await?;
        let last = self.ledger.epochs.last_dedup_store().await?;
        let known = last.as_ref().and_then(|last| last.identity.as_ref());
        let is_other_store = known.is_some_and(|known| *known != store.identity);
        let is_other_ledger = store.ledger.as_ref().is_some_and(|theirs| *theirs != ours);
        // A server that was restarted is another store as well, but no epoch returns to the one before the restart.
        let before = last.as_ref().and_then(|last| last.before.as_ref());
        let is_return = is_other_store && before == Some(&store.identity);
        let is_contended = is_return || is_other_ledger;
        Ok(Some(StoreCheck {
            returns: returns_in_series(last.as_ref()) + u32::from(is_contended),
            store,
            ours,
            is_changed: is_other_store || is_other_ledger,
            is_contended,
            last,
        }))
    }

    /// Records in which store an epoch began, for the check before the next one.
    pub(crate) async fn record(&self, epoch: EpochId, check: StoreCheck) {
        let store = NewDedupStore {
            address: check.store.address,
            identity: check.store.identity,
            returns: check.returns,
            is_contended: check.is_contended,
        };
        if let Err(error) = self.ledger.epochs.record_dedup_store(epoch, store).await {
            let error = jetline_runtime::causes(&error);
            tracing::warn!(error, "record the epoch's dedup store failed");
        }
        if let Err(error) = self.dedup.set_ledger(&check.ours).await {
            let error = jetline_runtime::causes(&error);
            tracing::warn!(error, "record the ledger in the dedup store failed");
        }
    }
}

/// The returns in the current series.
fn returns_in_series(last: Option<&LastDedupStore>) -> u32 {
    let last = last.filter(|last| last.returned_ago.is_some_and(|ago| ago < RESET_AFTER));
    last.map_or(0, |last| last.returns)
}

impl StoreCheck {
    fn log(&self) {
        let StoreInfo { address, identity, .. } = &self.store;
        let last = self.last.as_ref();
        let their_address = last.and_then(|last| last.address.as_deref());
        let their_identity = last.and_then(|last| last.identity.as_deref());
        let (ledger, theirs) = (&self.ours, self.store.ledger.as_ref());
        let their_ledger = theirs.filter(|theirs| *theirs != ledger);
        let (returns, delay) = (self.returns, delay(self.returns));
        if let Some(their_ledger) = their_ledger {
            tracing::error!(
                address, identity, %ledger, %their_ledger, returns, delay_ms = jetline_runtime::millis(delay),
                "another ledger uses this dedup store, and each ends the other's epochs: \
                 give each deployment a REDIS_PREFIX of its own"
            );
        } else if returns > TOLERATED_RETURNS {
            tracing::error!(
                address,
                identity,
                their_address,
                their_identity,
                returns,
                delay_ms = jetline_runtime::millis(delay),
                "writers use different dedup stores, and end each other's epochs: \
                 give all of them the same REDIS_URL and REDIS_PREFIX"
            );
        } else {
            tracing::warn!(
                address,
                identity,
                their_address,
                their_identity,
                "dedup store changed since the last epoch"
            );
        }
    }
}

/// Grows exponentially, so that chunks are committed between two epochs.
fn delay(returns: u32) -> Duration {
    match returns.checked_sub(TOLERATED_RETURNS + 1) {
        None => Duration::ZERO,
        Some(more) => (INITIAL_DELAY * 2_u32.saturating_pow(more.min(10))).min(MAX_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_grows_while_stores_alternate() {
        let seconds: Vec<u64> = (0..10).map(|returns| delay(returns).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(delay(u32::MAX), MAX_DELAY);
    }
}
