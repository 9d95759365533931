//! From parsed chunks to committed ones, whatever stands in between.
//!
//! What a failure asks for is decided here, once: the database or the dedup store is away — wait and try again; a value
//! is not accepted — reject its line; the chunk belongs to nothing that is open — let it go.

use std::{collections::HashMap, sync::Arc};

use jetline_dedup::Dedup;
use jetline_queue::Chunk;
use jetline_records::{Dataset, Epoch, ObjectId, Reason, Rejection, Table};
use jetline_runtime::metrics::{
    CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES, LINES, REJECTS,
};
use jetline_store::{
    ChunkEntry, ChunkOutcome, ChunkRows, CommitOutcome, Counts, Ledger, ledger::Suspicion,
};

use tokio::sync::RwLock;

use crate::{
    claim::claim,
    epochs::{self, Epochs},
    parse::{self, Parsed},
};

/// Commits chunks: any number at the same time.
pub struct Committer {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
    epochs: Epochs,
    datasets: Vec<Dataset>,
    /// Held shared by ordinary work and alone by suspicious work.
    pub(crate) alone: RwLock<()>,
}

/// Why a step did not go through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] jetline_store::Error),
    /// The dedup store.
    #[error(transparent)]
    Dedup(#[from] jetline_dedup::Error),
}

impl From<epochs::Error> for Error {
    fn from(error: epochs::Error) -> Self {
        match error {
            epochs::Error::Ledger(error) => Self::Ledger(error),
            epochs::Error::Dedup(error) => Self::Dedup(error),
        }
    }
}

/// What a step did with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing of it is left.
    Done,
    /// There is more to do.
    Again,
    /// The database refuses its chunks together and accepts each alone: to be split.
    Split,
}

impl Committer {
    /// A committer.
    #[must_use]
    pub fn new(
        ledger: Ledger,
        dedup: Arc<dyn Dedup>,
        epochs: Epochs,
        datasets: Vec<Dataset>,
    ) -> Self {
        Self {
            ledger,
            dedup,
            epochs,
            datasets,
            alone: RwLock::new(()),
        }
    }

    /// Joins the epoch in force, or begins one.
    pub async fn begin(&self) -> Result<(), Error> {
        self.epochs.current().await?;
        Ok(())
    }

    /// Parses chunks into one group per dataset. Chunks of a dataset that this writer does not know come back: another
    /// writer may know it.
    #[must_use]
    pub fn parse(&self, chunks: Vec<Chunk>) -> (Vec<Group<'_>>, Vec<Chunk>) {
        let (mut groups, mut unknown): (Vec<Group<'_>>, Vec<Chunk>) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let Some(dataset) = self
                .datasets
                .iter()
                .find(|known| known.name == chunk.dataset)
            else {
                unknown.push(chunk);
                continue;
            };
            let group = groups
                .iter()
                .position(|group| group.dataset.name == dataset.name);
            let group = group.unwrap_or_else(|| {
                groups.push(Group::new(dataset));
                groups.len() - 1
            });
            groups[group].add(chunk);
        }
        (groups, unknown)
    }

    /// Notes that a chunk which was delivered suspiciously often is about to be tried alone.
    pub async fn suspect(&self, chunk: &Chunk, limit: u32) -> Result<Suspicion, Error> {
        Ok(self.ledger.suspect(&parse::entry(chunk), limit).await?)
    }

    /// Takes a group one step on. After an error it can be called again.
    pub async fn advance(&self, group: &mut Group<'_>) -> Result<Step, Error> {
        if group.items.is_empty() {
            return Ok(Step::Done);
        }
        let epoch = self.epochs.current().await?;
        let parsed: Vec<&Parsed> = group.items.iter().map(|item| &item.parsed).collect();
        let dataset = group.dataset.name;
        let Some(judged) = claim(&*self.dedup, &epoch, group.settled(), dataset, &parsed).await?
        else {
            self.epochs.after(epoch.id).await?;
            return Ok(Step::Again);
        };
        self.commit(&epoch, &judged, group).await
    }

    async fn commit(
        &self,
        epoch: &Epoch,
        judged: &[ChunkRows],
        group: &mut Group<'_>,
    ) -> Result<Step, Error> {
        let next = if group.has_refused() {
            Some(self.epochs.next_id().await)
        } else {
            None
        };
        let table = &group.dataset.table;
        match self.ledger.commit(epoch.id, table, judged, next).await {
            Ok(CommitOutcome::Committed(outcomes)) => {
                group.count(&outcomes);
                Ok(Step::Done)
            }
            Ok(CommitOutcome::Raced) => Ok(Step::Again),
            Ok(CommitOutcome::EpochEnded) => {
                self.epochs.after(epoch.id).await?;
                Ok(Step::Again)
            }
            Ok(CommitOutcome::Stale(stale)) => {
                self.let_go(epoch, group, &stale).await?;
                Ok(Step::Again)
            }
            Err(jetline_store::Error::Data { .. }) => self.find_refused(judged, group).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Lets chunks go whose object failed without them, or is not the one they were cut from. What they claimed will
    /// never be committed, which ends the epoch.
    async fn let_go(
        &self,
        epoch: &Epoch,
        group: &mut Group<'_>,
        stale: &[ChunkEntry],
    ) -> Result<(), Error> {
        if stale.iter().any(|entry| entry.object >= epoch.base) {
            self.ledger
                .end_epoch(epoch.id, self.epochs.next_id().await)
                .await?;
        }
        tracing::warn!(
            chunks = stale.len(),
            "chunks belong to no open object, they are let go"
        );
        group
            .items
            .retain(|item| !stale.contains(&item.parsed.entry));
        Ok(())
    }

    /// Finds, in each chunk, the first line that the database does not accept: it is rejected.
    async fn find_refused(
        &self,
        judged: &[ChunkRows],
        group: &mut Group<'_>,
    ) -> Result<Step, Error> {
        let mut found = false;
        for (rows, item) in judged.iter().zip(&mut group.items) {
            if let Some((line, message)) = self.first_refused(&group.dataset.table, rows).await? {
                found = true;
                let rejection = Rejection::new(Reason::RefusedByDatabase, message);
                item.refused.insert(line, rejection);
                item.parsed = parse::parse(&item.chunk, group.dataset, &item.refused);
            }
        }
        let several = group.items.len() > 1;
        Ok(if !found && several {
            Step::Split
        } else {
            Step::Again
        })
    }

    /// Searches the shortest run of rows, from the first on, that is refused: its last row is at fault.
    async fn first_refused(
        &self,
        table: &Table,
        rows: &ChunkRows,
    ) -> Result<Option<(u32, String)>, Error> {
        let first = |count: usize| ChunkRows {
            rows: rows.rows[..count].to_vec(),
            ..rows.clone()
        };
        let Some(mut message) = self.ledger.refusal(table, rows).await? else {
            return Ok(None);
        };
        let (mut accepted, mut refused) = (0, rows.rows.len());
        while accepted + 1 < refused {
            let middle = usize::midpoint(accepted, refused);
            match self.ledger.refusal(table, &first(middle)).await? {
                Some(words) => (refused, message) = (middle, words),
                None => accepted = middle,
            }
        }
        let row = refused.checked_sub(1).and_then(|last| rows.rows.get(last));
        Ok(row.map(|row| (row.position.line(), message)))
    }
}

/// The chunks of one dataset on their way to one commit.
pub struct Group<'a> {
    dataset: &'a Dataset,
    items: Vec<Item>,
}

struct Item {
    chunk: Chunk,
    parsed: Parsed,
    refused: HashMap<u32, Rejection>,
}

impl<'a> Group<'a> {
    fn new(dataset: &'a Dataset) -> Self {
        Self {
            dataset,
            items: Vec::new(),
        }
    }

    fn add(&mut self, chunk: Chunk) {
        let refused = HashMap::new();
        self.items.push(Item {
            parsed: parse::parse(&chunk, self.dataset, &refused),
            chunk,
            refused,
        });
    }

    /// One group per chunk.
    #[must_use]
    pub fn split(self) -> Vec<Self> {
        let alone = self.items.into_iter().map(|item| Self {
            dataset: self.dataset,
            items: vec![item],
        });
        alone.collect()
    }

    /// What was settled when the first of the chunks was published.
    fn settled(&self) -> ObjectId {
        let settled = self.items.iter().map(|item| item.chunk.settled);
        settled.min().unwrap_or_default()
    }

    fn has_refused(&self) -> bool {
        self.items.iter().any(|item| !item.refused.is_empty())
    }

    fn count(&mut self, outcomes: &[ChunkOutcome]) {
        for (item, outcome) in self.items.drain(..).zip(outcomes) {
            match outcome {
                ChunkOutcome::Committed(counts) => count(self.dataset.name, &item.parsed, counts),
                ChunkOutcome::AlreadyCommitted => metrics::counter!(CHUNKS_REPEATED).increment(1),
            }
        }
    }
}

fn count(dataset: &'static str, chunk: &Parsed, counts: &Counts) {
    metrics::counter!(CHUNKS_COMMITTED).increment(1);
    metrics::counter!(COMMITTED_BYTES).increment(chunk.entry.end - chunk.entry.start);
    for (outcome, lines) in [
        ("inserted", counts.inserted),
        ("updated", counts.updated),
        ("unchanged", counts.unchanged),
        ("superseded", counts.superseded),
        ("rejected", counts.rejected),
    ] {
        metrics::counter!(LINES, "dataset" => dataset, "outcome" => outcome).increment(lines);
    }
    for line in &chunk.rejected {
        let reason = line.rejection.reason.code();
        metrics::counter!(REJECTS, "dataset" => dataset, "reason" => reason).increment(1);
    }
}
