//! Which epoch this writer claims under.

use std::sync::Arc;

use jetline_dedup::Dedup;
use jetline_records::{Epoch, EpochId, Mode};
use jetline_runtime::metrics::EPOCHS;
use jetline_store::{Ledger, ledger::BeginError};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::Mutex;

use crate::contention::Contention;

/// The epoch in force as this process knows it; one for all its workers.
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

/// Why there is no epoch.
pub type Error = BeginError<jetline_dedup::Error>;

impl Epochs {
    /// Epochs of a ledger and a dedup store; `seed` makes their ids.
    #[must_use]
    pub fn new(ledger: Ledger, dedup: Arc<dyn Dedup>, seed: u64) -> Self {
        let state = State {
            current: None,
            randomness: StdRng::seed_from_u64(seed),
        };
        Self {
            contention: Contention::new(ledger.clone(), dedup.clone()),
            ledger,
            dedup,
            state: Mutex::new(state),
        }
    }

    /// The epoch in force: the ledger's, or a new one where there is none that can be gone on with.
    pub async fn current(&self) -> Result<Epoch, Error> {
        let mut state = self.state.lock().await;
        if let Some(epoch) = &state.current {
            return Ok(epoch.clone());
        }
        self.begin(&mut state, None).await
    }

    /// The epoch after one that has ended or has lost something.
    pub async fn after(&self, ended: EpochId) -> Result<Epoch, Error> {
        let mut state = self.state.lock().await;
        match &state.current {
            Some(epoch) if epoch.id != ended => Ok(epoch.clone()),
            _ => self.begin(&mut state, Some(ended)).await,
        }
    }

    /// A new id for an epoch that ends the current one.
    pub async fn next_id(&self) -> EpochId {
        EpochId::random(&mut self.state.lock().await.randomness)
    }

    async fn begin(&self, state: &mut State, seen: Option<EpochId>) -> Result<Epoch, Error> {
        let new = EpochId::random(&mut state.randomness);
        let mode = self.dedup.mode();
        let approached = self.contention.approach(seen).await;
        let activate = async { self.dedup.begin(&new).await };
        let epoch = self.ledger.begin_epoch(mode, seen, new, activate).await?;
        if epoch.id == new {
            metrics::counter!(EPOCHS).increment(1);
            tracing::info!(epoch = %epoch.id, base = %epoch.base, %mode, "an epoch begins");
            if let Some(approached) = approached {
                self.contention.note(new, approached).await;
            }
        }
        state.current = Some(epoch.clone());
        if mode == Mode::Shared
            && let Err(error) = self.sweep().await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "entries of ended epochs were not removed"
            );
        }
        Ok(epoch)
    }

    /// Removes what the dedup store holds of ended epochs.
    ///
    /// An id that is not in force after it was seen in the store never comes back: entries are made only under an id
    /// that was in force before, and ids are random.
    async fn sweep(&self) -> Result<(), Error> {
        let seen = self.dedup.epochs().await.map_err(BeginError::Dedup)?;
        let Some(current) = self.ledger.epoch().await? else {
            return Ok(());
        };
        let ended: Vec<EpochId> = seen
            .into_iter()
            .filter(|id| *id != current.epoch.id)
            .collect();
        if !ended.is_empty() {
            let removed = self.dedup.forget(&ended).await.map_err(BeginError::Dedup)?;
            tracing::info!(removed, "entries of ended epochs were removed");
        }
        Ok(())
    }
}
