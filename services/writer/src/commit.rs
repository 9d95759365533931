//! Takes batches of parsed chunks to their commit.
//!
//! How a failure is handled is decided here: the database or the dedup store is unavailable: retry; the database
//! refuses a row: reject its line; the object of a chunk is not open: discard the chunk.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jetline_core::{ChunkRange, Counts};
use jetline_core::{Epoch, Mode};
use jetline_dedup::Dedup;
use jetline_queue::Chunk;
use jetline_records::Dataset;
use jetline_runtime::{
    metrics::{CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES},
    telemetry::SpanKind,
};
use jetline_store::{
    ChunkRows, CommitOutcome, Ledger,
    chunks::{Admission, SuspectAction},
};

use tokio::sync::RwLock;

pub use crate::batch::Batch;
use crate::{
    admission::Admissions,
    batch::count_lines,
    batch_span::{self, BatchSpan},
    claim::{claim, write_through},
    epochs::{self, Epochs},
    parse::{self, Parsed},
};

/// Commits batches; any number of them concurrently.
pub struct Committer {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
    epochs: Epochs,
    admissions: Admissions,
    datasets: Vec<Dataset>,
    /// The datasets of which the last commit had a row that the database refused.
    refused_lately: Mutex<HashSet<&'static str>>,
    /// Held shared while ordinary chunks are committed, and exclusively while a suspect is tried.
    pub(crate) exclusion: RwLock<()>,
}

/// Why a step failed.
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

/// The state of a batch after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No chunk of it is left.
    Done,
    /// Another step is needed.
    Again,
    /// The database refuses its chunks together and accepts each alone: the batch is to be split.
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
        create_counters(&datasets);
        Self {
            admissions: Admissions::new(ledger.chunks.clone()),
            ledger,
            dedup,
            epochs,
            datasets,
            refused_lately: Mutex::default(),
            exclusion: RwLock::new(()),
        }
    }

    /// Checks that the tables can be written, and joins the epoch in force or begins one.
    pub async fn begin(&self) -> Result<(), Error> {
        for dataset in &self.datasets {
            self.ledger.chunks.check_table(&dataset.table).await?;
        }
        self.epochs.current().await?;
        Ok(())
    }

    /// Whether this writer has the dataset of a chunk; during an upgrade another writer may.
    #[must_use]
    pub fn has_dataset(&self, chunk: &Chunk) -> bool {
        let known = self.dataset(&chunk.dataset).is_some();
        if !known {
            chunk.log_span().in_scope(|| {
                tracing::error!(
                    dataset = chunk.dataset,
                    "chunk skipped: its dataset is unknown to this writer, which may have to be updated"
                );
            });
        }
        known
    }

    /// Parses chunks of known datasets into one batch per dataset.
    #[must_use]
    pub fn parse(&self, chunks: Vec<Chunk>) -> Vec<Batch<'_>> {
        let mut batches: Vec<Batch<'_>> = Vec::new();
        for chunk in chunks {
            let Some(dataset) = self.dataset(&chunk.dataset) else {
                continue;
            };
            let batch = batches.iter().position(|batch| batch.dataset.name == dataset.name);
            let batch = batch.unwrap_or_else(|| {
                batches.push(Batch::new(dataset));
                batches.len() - 1
            });
            batches[batch].add(chunk);
        }
        batches
    }

    fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|known| known.name == name)
    }

    /// Records that a suspected chunk is about to be tried alone, or that it is dead after `limit` attempts.
    pub async fn suspect(&self, chunk: &Chunk, limit: u32) -> Result<SuspectAction, Error> {
        Ok(self.ledger.chunks.suspect(&parse::entry(chunk), limit).await?)
    }

    /// Takes a batch one step further. After an error it can be called again.
    pub async fn advance(&self, batch: &mut Batch<'_>) -> Result<Progress, Error> {
        if batch.chunks.is_empty() {
            return Ok(Progress::Done);
        }
        let epoch = self.epochs.current().await?;
        if epoch.claims(batch.dataset.name) {
            // Lines that were refused under an earlier epoch may be accepted now. Without them, the lines that they
            // supersede would be claimed in their place.
            batch.restore_refused();
        }
        batch.reparse_consumed();
        if !self.admit(&epoch, batch).await? {
            return Ok(Progress::Again);
        }
        let Some(claimed) = self.claim(&epoch, batch).await? else {
            self.epochs.after(epoch.id).await?;
            return Ok(Progress::Again);
        };
        self.commit(&epoch, claimed, batch).await
    }

    fn refused_lately(&self) -> MutexGuard<'_, HashSet<&'static str>> {
        self.refused_lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim(
        &self,
        epoch: &Epoch,
        batch: &mut Batch<'_>,
    ) -> Result<Option<Vec<ChunkRows>>, Error> {
        let is_claimed = epoch.claims(batch.dataset.name);
        let kind = if is_claimed { SpanKind::Client } else { SpanKind::Internal };
        let span = BatchSpan::begin(&kind, "claim", batch.queue_chunks());
        if is_claimed {
            span.set("db.system.name", "redis");
        }
        let (settled, dataset) = (batch.settled(), batch.dataset.name);
        let parsed = batch.chunks.iter_mut().map(|chunk| &mut chunk.parsed);
        let mut parsed: Vec<&mut Parsed> = parsed.collect();
        let claimed = if epoch.mode == Mode::Shared && !is_claimed {
            Ok(Some(write_through(epoch, &mut parsed)))
        } else {
            claim(&*self.dedup, epoch, settled, dataset, &mut parsed).await
        };
        if let Ok(chunks) = &claimed {
            span.set("jetline.claim.lost", chunks.is_none());
        }
        span.end_with(&claimed);
        Ok(claimed?)
    }

    /// Whether all of a batch may be claimed; discards the chunks that may not.
    async fn admit(&self, epoch: &Epoch, batch: &mut Batch<'_>) -> Result<bool, Error> {
        let entries = batch.chunks.iter().map(|chunk| &chunk.parsed.entry);
        let entries: Vec<&ChunkRange> = entries.collect();
        match self.admissions.admit(epoch, &entries).await? {
            Admission::All => Ok(true),
            Admission::Except(stale) => {
                batch.discard(&stale);
                Ok(false)
            }
            Admission::EpochEnded => {
                self.epochs.after(epoch.id).await?;
                Ok(false)
            }
        }
    }

    async fn commit(
        &self,
        epoch: &Epoch,
        chunks: Vec<ChunkRows>,
        batch: &mut Batch<'_>,
    ) -> Result<Progress, Error> {
        let (dataset, table) = (batch.dataset.name, &batch.dataset.table);
        let span = BatchSpan::begin(&SpanKind::Client, "commit", batch.queue_chunks());
        span.set("db.system.name", self.ledger.chunks.system());
        span.set("db.collection.name", dataset);
        let rows = chunks.iter().map(|chunk| chunk.rows.len()).sum();
        span.set("jetline.batch.rows", batch_span::count(rows));
        let claims = epoch.claims(dataset);
        let rejects = !claims && (batch.was_refused || self.refused_lately().contains(dataset));
        let committed = if rejects {
            // Its future is large: boxed, so that not every commit allocates room for it.
            Box::pin(self.commit_and_reject(epoch, chunks, batch)).await
        } else {
            self.ledger.chunks.commit(epoch.id, table, chunks).await
        };
        if let Ok(outcome) = &committed {
            span.set("jetline.commit.outcome", name(outcome));
        }
        span.end_with(&committed);
        match committed {
            Ok(CommitOutcome::Committed(outcomes)) => {
                batch.complete(&outcomes);
                Ok(Progress::Done)
            }
            Ok(CommitOutcome::Raced) => Ok(Progress::Again),
            Ok(CommitOutcome::EpochEnded) => {
                self.epochs.after(epoch.id).await?;
                Ok(Progress::Again)
            }
            Ok(CommitOutcome::Stale(stale)) => {
                self.discard_claimed(epoch, batch, &stale).await?;
                Ok(Progress::Again)
            }
            Ok(CommitOutcome::Repeated(repeated)) => {
                batch.remove_repeated(&repeated);
                Ok(Progress::Again)
            }
            Ok(CommitOutcome::NotWritten) => {
                Box::pin(self.reject_refused(epoch, batch, None)).await
            }
            Err(error) if error.may_be_caused_by_row() && !claims && !rejects => {
                tracing::debug!(%error, "commit failed, will reject the lines of refused rows");
                batch.was_refused = true;
                Ok(Progress::Again)
            }
            Err(error) if error.may_be_caused_by_row() => {
                Box::pin(self.reject_refused(epoch, batch, Some(error))).await
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn commit_and_reject(
        &self,
        epoch: &Epoch,
        chunks: Vec<ChunkRows>,
        batch: &mut Batch<'_>,
    ) -> Result<CommitOutcome, jetline_store::Error> {
        let dataset = batch.dataset;
        let mut any = false;
        let mut reject = |refused| {
            any = true;
            batch.reject_in_commit(refused)
        };
        let committed = self
            .ledger
            .chunks
            .commit_and_reject(epoch.id, &dataset.table, chunks, &mut reject)
            .await;
        if any {
            self.refused_lately().insert(dataset.name);
        } else {
            self.refused_lately().remove(dataset.name);
        }
        committed
    }

    /// Discards claimed chunks whose object failed without them. Their claims will never be committed, which ends the
    /// epoch.
    async fn discard_claimed(
        &self,
        epoch: &Epoch,
        batch: &mut Batch<'_>,
        stale: &[ChunkRange],
    ) -> Result<(), Error> {
        if stale.iter().any(|entry| entry.object >= epoch.base) {
            self.ledger.epochs.end(epoch.id, self.epochs.next_id().await).await?;
        }
        batch.discard(stale);
        Ok(())
    }

    /// Rejects the lines that the database refuses, until it accepts the rest: a line that replaces a refused one may
    /// be refused as well. They become rejected lines in the commit of their chunks.
    ///
    /// Where the dataset is claimed, the claims of refused lines will never be committed, which ends the epoch. From
    /// then on the dataset is written without claims, so that later refusals do not end another one.
    async fn reject_refused(
        &self,
        epoch: &Epoch,
        batch: &mut Batch<'_>,
        error: Option<jetline_store::Error>,
    ) -> Result<Progress, Error> {
        batch.reparse_consumed();
        let (dataset, table) = (batch.dataset.name, &batch.dataset.table);
        let mut rows = batch.latest(epoch.mode, |_| true);
        let mut any = false;
        loop {
            let refused = self.ledger.chunks.refused(table, rows).await?;
            if refused.is_empty() {
                break;
            }
            any = true;
            let ids = batch.reject(refused);
            rows = batch.latest(epoch.mode, |id| ids.contains(id));
        }
        if any {
            self.refused_lately().insert(dataset);
            if epoch.claims(dataset) {
                let next = self.epochs.next_id().await;
                if self.ledger.epochs.write_through(dataset, next).await? {
                    tracing::warn!(
                        dataset,
                        "claims disabled until a replay: the database refused a record of the dataset, which is now \
                         written without dedup"
                    );
                }
            }
            return Ok(Progress::Again);
        }
        if batch.chunks.len() > 1 {
            return Ok(Progress::Split);
        }
        Err(error.unwrap_or(jetline_store::Error::Suppressed).into())
    }
}

fn name(outcome: &CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Committed(_) => "committed",
        CommitOutcome::Raced => "raced",
        CommitOutcome::EpochEnded => "epoch_ended",
        CommitOutcome::NotWritten => "not_written",
        CommitOutcome::Stale(_) => "stale",
        CommitOutcome::Repeated(_) => "repeated",
    }
}

/// Creates the counters with 0: `increase()` does not see the first event of a counter that begins with it.
fn create_counters(datasets: &[Dataset]) {
    for counter in [CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES] {
        metrics::counter!(counter).increment(0);
    }
    for dataset in datasets {
        count_lines(dataset.name, &Counts::default());
    }
}
