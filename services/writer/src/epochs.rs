//! The epoch under which this writer claims.

use std::sync::Arc;

use jetline_core::{Epoch, EpochId, Mode};
use jetline_dedup::Dedup;
use jetline_runtime::metrics::EPOCHS;
use jetline_store::{Ledger, epochs::BeginError};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::{Mutex, MutexGuard};

use crate::contention::Contention;

/// Caches the epoch in force, for all workers of a process.
pub struct Epochs {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
    contention: Contention,
    state: Mutex<State>,
}

struct State {
    current: Option<Epoch>,
    randomness: StdRng,
}

/// Why no epoch could be joined or begun.
pub type Error = BeginError<jetline_dedup::Error>;

impl Epochs {
    /// The epochs of a ledger and a dedup store; `seed` seeds the ids of new ones.
    #[must_use]
    pub fn new(ledger: Ledger, dedup: Arc<dyn Dedup>, seed: u64) -> Self {
        let state = State { current: None, randomness: StdRng::seed_from_u64(seed) };
        Self {
            contention: Contention::new(ledger.clone(), dedup.clone()),
            ledger,
            dedup,
            state: Mutex::new(state),
        }
    }

    /// The epoch in force: that of the ledger, or a new one where that has ended.
    pub async fn current(&self) -> Result<Epoch, Error> {
        let state = self.state.lock().await;
        match &state.current {
            Some(epoch) => Ok(epoch.clone()),
            None => self.begin(state, None).await,
        }
    }

    /// The epoch that follows one that has ended, or of which the dedup store lost entries.
    pub async fn after(&self, ended: EpochId) -> Result<Epoch, Error> {
        let state = self.state.lock().await;
        match &state.current {
            Some(epoch) if epoch.id != ended => Ok(epoch.clone()),
            _ => self.begin(state, Some(ended)).await,
        }
    }

    /// A new id for an epoch that ends the current one.
    pub async fn next_id(&self) -> EpochId {
        EpochId::random(&mut self.state.lock().await.randomness)
    }

    /// Begins an epoch, or joins the one in force. Where it begins one, and at start, also removes the entries of ended ones,
    /// while the other workers go on.
    async fn begin(
        &self,
        mut state: MutexGuard<'_, State>,
        seen: Option<EpochId>,
    ) -> Result<Epoch, Error> {
        let new = EpochId::random(&mut state.randomness);
        let mode = self.dedup.mode();
        let check = self.contention.log_and_delay_if_contended(seen).await;
        let activate = async { self.dedup.begin(&new).await };
        let epoch = self.ledger.epochs.begin(mode, seen, new, activate).await?;
        if epoch.id == new {
            metrics::counter!(EPOCHS).increment(1);
            tracing::info!(epoch = %epoch.id, base = epoch.base.get(), %mode, "epoch begun");
            if let Some(check) = check {
                self.contention.record(new, check).await;
            }
        }
        state.current = Some(epoch.clone());
        drop(state);
        if mode == Mode::Shared
            && (epoch.id == new || seen.is_none())
            && let Err(error) = self.remove_ended().await
        {
            tracing::warn!(
                error = jetline_runtime::causes(&error),
                "remove entries of ended epochs failed"
            );
        }
        Ok(epoch)
    }

    /// Removes the entries of ended epochs from the dedup store.
    ///
    /// An id that was seen in the store and is not in force now will never be in force again: entries are written only
    /// under an id that was in force before, and ids are random.
    async fn remove_ended(&self) -> Result<(), Error> {
        let seen = self.dedup.epochs().await.map_err(BeginError::Dedup)?;
        let Some(current) = self.ledger.epochs.current().await? else {
            return Ok(());
        };
        let ended: Vec<EpochId> = seen.into_iter().filter(|id| *id != current.epoch.id).collect();
        if !ended.is_empty() {
            let removed = self.dedup.forget(&ended).await.map_err(BeginError::Dedup)?;
            tracing::info!(removed, "entries of ended epochs removed");
        }
        Ok(())
    }
}
