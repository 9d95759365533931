//! A dedup store in memory: the reference implementation of the port's table.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jetline_core::{Entry, EpochId, Key, Mode, ObjectId, Verdict};
use jetline_dedup::{Claim, Claimed, Dedup, Error};

/// Entries in this process.
#[derive(Debug, Default)]
pub struct InMemory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    epoch: Option<EpochId>,
    entries: BTreeMap<EpochId, BTreeMap<(String, Key), Entry>>,
}

impl InMemory {
    /// Loses all entries, like a server that restarts empty.
    pub fn lose(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is usable: entries are never half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Dedup for InMemory {
    fn mode(&self) -> Mode {
        Mode::Shared
    }

    async fn claim(
        &self,
        epoch: &EpochId,
        trusted: ObjectId,
        dataset: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error> {
        let mut state = self.state();
        if state.epoch.as_ref() != Some(epoch) {
            return Ok(Claimed::Lost);
        }
        let entries = state.entries.entry(*epoch).or_default();
        let verdicts = claims.iter().map(|claim| {
            let id = (dataset.to_owned(), claim.key.clone());
            let Claim { rank, fingerprint, .. } = *claim;
            let verdict = Verdict::of(entries.get(&id), rank, fingerprint, trusted);
            if let Some(entry) = verdict.entry(rank, fingerprint) {
                entries.insert(id, entry);
            }
            verdict
        });
        Ok(Claimed::Verdicts(verdicts.collect()))
    }

    async fn begin(&self, epoch: &EpochId) -> Result<(), Error> {
        let mut state = self.state();
        state.epoch = Some(*epoch);
        state.entries.entry(*epoch).or_default();
        Ok(())
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, Error> {
        Ok(self.state().entries.keys().copied().collect())
    }

    async fn remove(&self, ended: &[EpochId]) -> Result<u64, Error> {
        let mut state = self.state();
        state.epoch = state.epoch.filter(|epoch| !ended.contains(epoch));
        let removed = ended.iter().filter_map(|epoch| state.entries.remove(epoch));
        Ok(removed.map(|entries| entries.len() as u64).sum())
    }
}
