//! A writer whose steps are called one by one, so that a schedule can do anything between them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jetline_core::ChunkRange;
use jetline_core::{Epoch, EpochId, Key, ObjectId};
use jetline_datasets::{Dataset, Rejection};
use jetline_dedup::Dedup;
use jetline_queue::Chunk;
use jetline_store::{
    ChunkRows, CommitOutcome, Error, KeyClaim, Ledger, RefusedRow, UpsertRow, chunks::Admission,
};
use jetline_writer::{
    admission::Admissions,
    claim::claim,
    declarations::Declarations,
    epochs::Epochs,
    parse::{self, Parsed, ParsedRecord},
};

use super::{
    non_atomic,
    rule::Rule,
    servers::{Servers, Store},
};

/// A chunk in the queue, and which chunk of which file it is.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) file: usize,
    pub(crate) part: usize,
    pub(crate) chunk: Chunk,
}

pub(crate) struct Writer {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
    epochs: Epochs,
    admissions: Admissions,
    declarations: Declarations,
    /// Its messages in flight.
    pub(crate) messages: Vec<Message>,
    /// The lines that the database refused, by object and number.
    refused: HashMap<ObjectId, BTreeMap<u32, Rejection>>,
    /// Whether the epoch of its messages claims.
    claims: bool,
    /// Whether the database refused a row since the epoch does not claim.
    may_have_refused_row: bool,
    stage: Stage,
}

enum Stage {
    Received,
    Claimed(EpochId, Arc<Dataset>, Vec<ChunkRows>, non_atomic::Entries),
    Committed,
}

impl Writer {
    pub(crate) fn start(ledger: &Ledger, dedup: &Arc<dyn Dedup>, seed: u64) -> Self {
        Self {
            ledger: ledger.clone(),
            dedup: dedup.clone(),
            epochs: Epochs::new(ledger.clone(), dedup.clone(), seed),
            admissions: Admissions::new(ledger.chunks.clone()),
            declarations: Declarations::new(ledger.database()),
            messages: Vec::new(),
            refused: HashMap::new(),
            claims: true,
            may_have_refused_row: false,
            stage: Stage::Received,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.messages.is_empty()
    }

    /// The stage of its messages.
    pub(crate) fn stage(&self) -> &'static str {
        match self.stage {
            Stage::Received if self.messages.is_empty() => "idle",
            Stage::Received => "received",
            Stage::Claimed(..) => "claimed",
            Stage::Committed => "committed",
        }
    }

    /// Runs one step: claim, commit, or acknowledge. A claim or a commit that failed is repeated by a later step.
    pub(crate) async fn advance(&mut self, servers: &Servers, without: Option<Rule>) {
        match std::mem::replace(&mut self.stage, Stage::Received) {
            Stage::Received => self.claim(servers, without).await,
            Stage::Claimed(epoch, dataset, mut rows, unstored) => {
                if without == Some(Rule::SupersededBy) {
                    for chunk in &mut rows {
                        chunk.superseded_by.clear();
                    }
                }
                if let (Store::NonAtomic(store), false) = (&servers.store, unstored.is_empty()) {
                    store.store(unstored);
                    self.stage = Stage::Claimed(epoch, dataset, rows, Vec::new());
                } else {
                    self.commit(epoch, rows, &dataset, without).await;
                }
            }
            Stage::Committed => {
                self.messages.clear();
                self.refused.clear();
            }
        }
    }

    async fn claim(&mut self, servers: &Servers, without: Option<Rule>) {
        let Some(mut dataset) = self.read_declarations().await else {
            return self.messages.clear();
        };
        let mut epoch = self.current(without).await;
        match without {
            Some(Rule::Base) => epoch.base = ObjectId::default(),
            Some(Rule::Recovery) => epoch.recovery = ObjectId::default(),
            _ => {}
        }
        if epoch.claims(&dataset.name) && without != Some(Rule::Refusal) {
            self.refused.clear();
        }
        let settled = self.messages.iter().map(|message| message.chunk.settled);
        let settled = settled.min();
        if without != Some(Rule::Columns) {
            dataset = self.declarations.under(epoch.id, &dataset).await.unwrap();
        }
        let parsed = self.parsed(&dataset);
        if without != Some(Rule::Registered) {
            let ranges: Vec<&ChunkRange> = parsed.iter().map(|parsed| &parsed.range).collect();
            match self.admissions.admit(&epoch, &ranges).await.unwrap() {
                Admission::All | Admission::AllNow => {}
                Admission::Except(stale) => return self.discard(&stale),
                Admission::EpochEnded => return self.after(epoch.id, without).await,
            }
        }
        let settled = settled.unwrap_or_default();
        self.claims = epoch.claims(&dataset.name);
        let claimed = claim(&*self.dedup, &epoch, settled, &dataset, parsed).await;
        match claimed.unwrap() {
            Some(mut rows) => {
                let unstored = match &servers.store {
                    Store::NonAtomic(store) => store.unstored(),
                    _ => Vec::new(),
                };
                // One writer runs at a time here: nobody else commits the rows that it would wait for.
                rows.iter_mut().for_each(ChunkRows::forget_earlier_claims);
                self.stage = Stage::Claimed(epoch.id, dataset, rows, unstored);
            }
            None => self.after(epoch.id, without).await,
        }
    }

    async fn commit(
        &mut self,
        mut epoch: EpochId,
        rows: Vec<ChunkRows>,
        dataset: &Dataset,
        without: Option<Rule>,
    ) {
        let claimed_under = epoch;
        if without == Some(Rule::Epoch) {
            epoch = self.ledger.epochs.current().await.unwrap().unwrap().epoch.id;
        }
        let rejects = !self.claims && self.may_have_refused_row;
        let outcome = if rejects {
            let ledger = self.ledger.clone();
            let mut reject = |refused| {
                self.reject(refused);
                self.parsed(dataset).into_iter().map(|parsed| parsed.rejected).collect()
            };
            ledger.chunks.commit_and_reject(epoch, dataset, rows, &mut reject).await
        } else {
            self.ledger.chunks.commit(epoch, dataset, rows).await
        };
        if outcome.as_ref().is_err_and(Error::may_be_caused_by_row) && !self.claims && !rejects {
            self.may_have_refused_row = true;
            return;
        }
        if outcome.as_ref().is_err_and(Error::may_be_caused_by_row) {
            return self.reject_refused(claimed_under, dataset, without).await;
        }
        match outcome.unwrap() {
            CommitOutcome::Committed(_) => self.stage = Stage::Committed,
            CommitOutcome::Raced => {}
            CommitOutcome::NotWritten => panic!("rows were not written"),
            CommitOutcome::EpochEnded => self.after(claimed_under, without).await,
            CommitOutcome::Repeated(repeated) => self.discard(&repeated),
            CommitOutcome::Stale(stale) => {
                let next = self.epochs.next_id().await;
                self.ledger.epochs.end(claimed_under, next).await.unwrap();
                self.discard(&stale);
            }
        }
    }

    /// The declaration of its messages; none if the ledger does not have it.
    async fn read_declarations(&self) -> Option<Arc<Dataset>> {
        let chunk = &self.messages.first()?.chunk;
        if self.declarations.of(chunk).is_none() {
            self.declarations.read().await.unwrap();
        }
        self.declarations.of(chunk)
    }

    fn parsed(&self, dataset: &Dataset) -> Vec<Parsed> {
        let each = self.messages.iter().map(|message| {
            let refused = self.refused.get(&message.chunk.object);
            parse::parse(&message.chunk, dataset, None, refused.unwrap_or(&BTreeMap::new()))
        });
        each.collect()
    }

    fn reject(&mut self, refused: Vec<RefusedRow>) {
        for RefusedRow { position, rejection, .. } in refused {
            let of_object = self.refused.entry(position.object()).or_default();
            of_object.insert(position.line(), rejection);
        }
    }

    /// Rejects what the database refuses, until it refuses nothing.
    async fn reject_refused(&mut self, epoch: EpochId, dataset: &Dataset, without: Option<Rule>) {
        loop {
            let mut latest: BTreeMap<Key, ParsedRecord> = BTreeMap::new();
            for record in self.parsed(dataset).into_iter().flat_map(|one| one.records) {
                let key = record.row.key.clone();
                if latest.get(&key).is_none_or(|other| other.rank() < record.rank()) {
                    latest.insert(key, record);
                }
            }
            let rows = latest.into_values().map(|record| UpsertRow {
                row: record.row,
                position: record.position,
                if_changed: false,
                claim: KeyClaim::None,
            });
            let refused = self.ledger.chunks.refused(dataset, rows.collect()).await.unwrap();
            if refused.is_empty() {
                break;
            }
            self.reject(refused);
        }
        if without != Some(Rule::Refusal) {
            let current = self.ledger.epochs.current().await.unwrap();
            if current.is_some_and(|current| current.epoch.id == epoch) {
                let next = self.epochs.next_id().await;
                let switched = self.ledger.epochs.write_through(&dataset.name, next).await;
                switched.unwrap();
            }
        }
    }

    fn discard(&mut self, stale: &[ChunkRange]) {
        self.messages.retain(|message| !stale.contains(&message.chunk.range()));
    }

    async fn current(&mut self, without: Option<Rule>) -> Epoch {
        self.count_epochs_in_the_database(without).await;
        self.epochs.current().await.unwrap()
    }

    async fn after(&mut self, ended: EpochId, without: Option<Rule>) {
        self.count_epochs_in_the_database(without).await;
        self.epochs.after(ended).await.unwrap();
    }

    /// Without [`Rule::Unique`], the next id follows from the one that the database holds.
    async fn count_epochs_in_the_database(&mut self, without: Option<Rule>) {
        if without == Some(Rule::Unique) {
            let current = self.ledger.epochs.current().await.unwrap();
            let number = current.map_or(0, |current| {
                u64::from_str_radix(&current.epoch.id.to_string(), 16).unwrap()
            });
            self.epochs = Epochs::new(self.ledger.clone(), self.dedup.clone(), number);
        }
    }
}
