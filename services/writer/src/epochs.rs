//! The epoch under which this writer claims.

use std::sync::Arc;

use jetline_core::{Epoch, EpochId};
use jetline_dedup::Dedup;
use jetline_runtime::{Backoff, metrics::EPOCHS};
use jetline_store::{Ledger, epochs::BeginError};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::Mutex;

use crate::contention::Contention;

/// Caches the epoch in force, for all workers of a process.
pub struct Epochs {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
    contention: Contention,
    state: Mutex<State>,
    /// Held while entries of ended epochs are removed.
    removal: Arc<Mutex<()>>,
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
            removal: Arc::default(),
        }
    }

    /// The epoch in force: that of the ledger, or a new one where that has ended.
    pub async fn current(&self) -> Result<Epoch, Error> {
        let mut state = self.state.lock().await;
        match &state.current {
            Some(epoch) => Ok(epoch.clone()),
            None => self.begin(&mut state, None).await,
        }
    }

    /// The epoch that follows one that has ended, or of which the dedup store lost entries.
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

    /// Begins an epoch, or joins the one in force. Where it begins one, and at start, the entries of ended ones are removed
    /// meanwhile.
    async fn begin(&self, state: &mut State, seen: Option<EpochId>) -> Result<Epoch, Error> {
        let new = EpochId::random(&mut state.randomness);
        let mode = self.dedup.mode();
        let check = self.contention.log_and_delay_if_contended(seen).await;
        // Read before this epoch begins: a writer that is about to begin one of these finds this one in force, and joins it.
        let stored = self.dedup.epochs().await.map_err(BeginError::Dedup)?;
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
        let ended: Vec<EpochId> = stored.into_iter().filter(|id| *id != epoch.id).collect();
        if (epoch.id == new || seen.is_none()) && !ended.is_empty() {
            let backoff = Backoff::for_calls(state.randomness.random());
            let removal = remove_entries(self.dedup.clone(), self.removal.clone(), ended, backoff);
            tokio::spawn(removal);
        }
        Ok(epoch)
    }
}

/// Removes the entries of ended epochs from the dedup store, one sweep at a time; retries until it succeeds.
///
/// At the start of a writer, one of these epochs may just be beginning. Without its entries it is lost, and the next one begins.
async fn remove_entries(
    dedup: Arc<dyn Dedup>,
    removal: Arc<Mutex<()>>,
    mut ended: Vec<EpochId>,
    mut backoff: Backoff,
) {
    let _one_at_a_time = removal.lock().await;
    loop {
        let removed = async {
            let stored = dedup.epochs().await?;
            ended.retain(|id| stored.contains(id));
            dedup.remove(&ended).await
        };
        let delay = match removed.await {
            Ok(removed) => {
                tracing::info!(removed, "entries of ended epochs removed");
                return;
            }
            Err(error) => {
                let (error, delay) = (jetline_runtime::causes(&error), backoff.next_delay());
                tracing::warn!(error, "remove entries of ended epochs failed, retrying");
                delay
            }
        };
        tokio::time::sleep(delay).await;
    }
}
