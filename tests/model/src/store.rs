//! The dedup store: Redis, with what it loses.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jetline_core::{Entry, EpochId, Key, Mode, ObjectId, Rank, Verdict};
use jetline_dedup::{Claim, Claimed, Dedup, Error};

use crate::{Rules, input::Content, rule::Rule};

/// The entries of the last epoch that was claimed under, and what says whether some were lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    /// The epoch in the epoch's key; 0 where there is no key.
    pub(crate) key: u8,
    /// The epochs whose scripts the server knows.
    pub(crate) scripts: Vec<u8>,
    /// Whether the replication id is that of the key.
    pub(crate) has_replication_id: bool,
    /// The epoch of the entries.
    pub(crate) of: u8,
    pub(crate) entries: BTreeMap<u8, Entry>,
}

/// What a snapshot or a replica has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot {
    pub(crate) key: u8,
    pub(crate) of: u8,
    pub(crate) entries: BTreeMap<u8, Entry>,
}

impl Store {
    pub(crate) fn begin(&mut self, epoch: u8) {
        self.key = epoch;
        if !self.scripts.contains(&epoch) {
            self.scripts.push(epoch);
        }
        self.has_replication_id = true;
        self.of = epoch;
        self.entries.clear();
    }

    /// Whether nothing of an epoch seems to be lost.
    fn knows(&self, epoch: u8, rules: Rules) -> bool {
        (self.key == epoch || !rules.has(Rule::Flushed))
            && (self.scripts.contains(&epoch) || !rules.has(Rule::Restarted))
            && (self.has_replication_id || !rules.has(Rule::FailedOver))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { key: self.key, of: self.of, entries: self.entries.clone() }
    }

    pub(crate) fn flush(&mut self) {
        self.set(Snapshot::default());
    }

    pub(crate) fn restart(&mut self, snapshot: Snapshot) {
        self.set(snapshot);
        self.scripts.clear();
    }

    /// Fails over to a replica that was the primary before, and knows the scripts of that time.
    pub(crate) fn fail_over(&mut self, snapshot: Snapshot) {
        self.set(snapshot);
        self.has_replication_id = false;
    }

    fn set(&mut self, Snapshot { key, of, entries }: Snapshot) {
        (self.key, self.of, self.entries) = (key, of, entries);
    }

    /// Stores entries that a claim without [`Rule::Atomic`] did not store.
    pub(crate) fn store(&mut self, epoch: u8, entries: Vec<(u8, Entry)>) {
        if self.of == epoch {
            self.entries.extend(entries);
        }
    }
}

/// The store as a port, for one claim.
pub(crate) struct Claiming<'a> {
    epoch: u8,
    rules: Rules,
    state: Mutex<State<'a>>,
}

struct State<'a> {
    store: &'a mut Store,
    claimed: Record,
}

/// What a claim left behind.
#[derive(Default)]
pub(crate) struct Record {
    /// The lines that were found unchanged.
    pub(crate) unchanged: Vec<(u8, Rank, Content)>,
    /// The entries that are still to be stored.
    pub(crate) unstored: Vec<(u8, Entry)>,
}

impl<'a> Claiming<'a> {
    pub(crate) fn new(store: &'a mut Store, epoch: u8, rules: Rules) -> Self {
        Self { epoch, rules, state: Mutex::new(State { store, claimed: Record::default() }) }
    }

    pub(crate) fn into_record(self) -> Record {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).claimed
    }

    fn state(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(&self, held: Option<&Entry>, claim: &Claim, trusted: ObjectId) -> Verdict {
        let mut held = held.copied();
        if let Some(held) = &mut held
            && !self.rules.has(Rule::Superseded)
        {
            held.rank = held.rank.min(claim.rank);
        }
        let trusted = if self.rules.has(Rule::Settled) { trusted } else { ObjectId::MAX };
        let verdict = Verdict::of(held.as_ref(), claim.rank, claim.fingerprint, trusted);
        match verdict {
            Verdict::Write if !self.rules.has(Rule::Raise) => Verdict::WriteIfChanged,
            verdict => verdict,
        }
    }
}

#[async_trait]
impl Dedup for Claiming<'_> {
    fn mode(&self) -> Mode {
        Mode::Shared
    }

    async fn claim(
        &self,
        _: &EpochId,
        trusted: ObjectId,
        _: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error> {
        let State { store, claimed } = &mut *self.state();
        if !store.knows(self.epoch, self.rules) {
            return Ok(Claimed::Lost);
        }
        if store.of != self.epoch {
            store.entries.clear();
            store.of = self.epoch;
        }
        let mut verdicts = Vec::with_capacity(claims.len());
        for claim in claims {
            let key = number(&claim.key);
            let verdict = self.judge(store.entries.get(&key), claim, trusted);
            if verdict == Verdict::Unchanged {
                claimed.unchanged.push((key, claim.rank, Content::of(claim.fingerprint)));
            }
            if let Some(mut entry) = verdict.entry(claim.rank, claim.fingerprint) {
                entry.is_stored |= !self.rules.has(Rule::Stored);
                claimed.unstored.push((key, entry));
            }
            verdicts.push(verdict);
        }
        if self.rules.has(Rule::Atomic) {
            store.entries.extend(mem::take(&mut claimed.unstored));
        }
        Ok(Claimed::Verdicts(verdicts))
    }

    async fn begin(&self, _: &EpochId) -> Result<(), Error> {
        self.state().store.begin(self.epoch);
        Ok(())
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, Error> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &[EpochId]) -> Result<u64, Error> {
        Ok(0)
    }
}

pub(crate) fn number(key: &Key) -> u8 {
    match key {
        Key::Int(number) => u8::try_from(*number).unwrap_or_default(),
        Key::Text(_) => 0,
    }
}
