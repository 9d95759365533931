//! A dedup store whose claim is not atomic: it reads all entries first, and stores them in a second step.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use jetline_core::{EpochId, Fingerprint, Key, Mode, ObjectId, Rank, Verdict};
use jetline_dedup::{Claim, Claimed, Dedup, Error};

/// The entries that a claim has not stored yet.
pub(crate) type Entries = Vec<(Key, Entry)>;

type Entry = (Rank, Fingerprint);

#[derive(Default)]
pub(crate) struct NonAtomic(Mutex<Held>);

#[derive(Default)]
struct Held {
    epoch: Option<EpochId>,
    entries: HashMap<Key, Entry>,
    /// Of the last claim.
    unstored: Entries,
}

impl NonAtomic {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }

    pub(crate) fn lose(&self) {
        *self.held() = Held::default();
    }

    /// Takes the entries that the last claim has not stored.
    pub(crate) fn unstored(&self) -> Entries {
        mem::take(&mut self.held().unstored)
    }

    pub(crate) fn store(&self, entries: Entries) {
        self.held().entries.extend(entries);
    }
}

#[async_trait]
impl Dedup for NonAtomic {
    fn mode(&self) -> Mode {
        Mode::Shared
    }

    async fn claim(
        &self,
        epoch: &EpochId,
        trusted: ObjectId,
        _: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error> {
        let held = &mut *self.held();
        if held.epoch != Some(*epoch) {
            return Ok(Claimed::Lost);
        }
        let verdicts = claims.iter().map(|claim| {
            let verdict = match held.entries.get(&claim.key) {
                None => Verdict::WriteIfChanged,
                Some((rank, _)) if *rank > claim.rank => {
                    return Verdict::Superseded(rank.position);
                }
                Some((rank, fingerprint))
                    if *fingerprint == claim.fingerprint && rank.position.object() < trusted =>
                {
                    Verdict::Unchanged
                }
                Some(_) => Verdict::Write,
            };
            let entry = (claim.rank, claim.fingerprint);
            held.unstored.push((claim.key.clone(), entry));
            verdict
        });
        Ok(Claimed::Verdicts(verdicts.collect()))
    }

    async fn begin(&self, epoch: &EpochId) -> Result<(), Error> {
        *self.held() = Held { epoch: Some(*epoch), ..Held::default() };
        Ok(())
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, Error> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &[EpochId]) -> Result<u64, Error> {
        Ok(0)
    }
}
