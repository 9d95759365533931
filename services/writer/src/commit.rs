//! Takes batches of chunks through their steps: parsed, admitted, claimed, committed.

mod failures;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use jetline_core::{ChunkRange, Counts, Epoch};
use jetline_datasets::RedactionKey;
use jetline_dedup::Dedup;
use jetline_queue::{Chunk, Wakeup};
use jetline_runtime::telemetry::SpanKind;
use jetline_store::{
    ChunkOutcome, ChunkRows, CommitOutcome, Ledger,
    chunks::{Admission, SuspectAction},
};
use tokio::sync::RwLock;

pub use crate::batch::{Batch, ParsedBatch};
use crate::{
    admission::Admissions,
    batch_span::{BatchSpan, saturating_i64},
    claim::claim,
    declarations::Declarations,
    epochs::Epochs,
    failure::{Failed, FailureAction, OnRefusedRow, outcomes_or_failure},
    outcome::{ChunkResult, count_lines},
    parse::Parsed,
};

/// Parsed chunks that may be claimed under an epoch.
struct Admitted<'a> {
    epoch: &'a Epoch,
    chunks: Vec<Parsed>,
}

/// The rows of chunks that were claimed under an epoch, or that are written without claims.
struct ClaimedRows<'a> {
    epoch: &'a Epoch,
    rows: Vec<ChunkRows>,
}

/// What became of the chunks of a batch.
pub struct ChunkResults(pub(crate) Vec<(ChunkRange, ChunkResult)>);

/// Commits batches; any number of them concurrently.
pub struct Committer {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
    epochs: Epochs,
    wakeup: Wakeup,
    admissions: Admissions,
    declarations: Declarations,
    redact_key: Option<Arc<RedactionKey>>,
    /// Datasets whose next commit is likely to have a refused row.
    datasets_with_refusals: Mutex<HashSet<String>>,
    /// Held shared while ordinary chunks are committed, and exclusively while a suspect is tried.
    pub(crate) suspect_lock: RwLock<()>,
}

impl Committer {
    /// A committer that redacts nothing.
    #[must_use]
    pub fn new(ledger: Ledger, dedup: Arc<dyn Dedup>, epochs: Epochs, wakeup: Wakeup) -> Self {
        Self {
            admissions: Admissions::new(ledger.chunks.clone()),
            declarations: Declarations::new(ledger.database()),
            redact_key: None,
            ledger,
            dedup,
            epochs,
            wakeup,
            datasets_with_refusals: Mutex::default(),
            suspect_lock: RwLock::new(()),
        }
    }

    /// The same, which redacts clear values by this key.
    #[must_use]
    pub fn with_redaction(self, key: Option<RedactionKey>) -> Self {
        Self { redact_key: key.map(Arc::new), ..self }
    }

    /// Checks that the tables can be written, and joins the epoch in force or begins one.
    pub async fn begin(&self) -> Result<(), FailureAction> {
        let datasets = self.declarations.read().await.map_err(FailureAction::at_start)?;
        for dataset in datasets.iter() {
            count_lines(&dataset.name, &Counts::default());
            let checked = self.ledger.chunks.check_table(dataset).await;
            checked.map_err(FailureAction::at_start)?;
        }
        self.epochs.current().await?;
        Ok(())
    }

    /// Reads the declarations from the ledger if that of one of these chunks is not known.
    pub async fn read_unknown_declarations(
        &self,
        mut chunks: impl Iterator<Item = &Chunk>,
    ) -> Result<(), FailureAction> {
        if chunks.any(|chunk| !self.knows_declaration(chunk)) {
            self.declarations.read().await?;
        }
        Ok(())
    }

    /// Whether the ledger has the declaration of a chunk.
    #[must_use]
    pub fn knows_declaration(&self, chunk: &Chunk) -> bool {
        self.declarations.of(chunk).is_some()
    }

    /// Parses chunks of known declarations into one batch per declaration.
    #[must_use]
    pub fn parse(&self, chunks: Vec<Chunk>) -> Vec<ParsedBatch> {
        let mut batches: Vec<ParsedBatch> = Vec::new();
        for chunk in chunks {
            let Some(dataset) = self.declarations.of(&chunk) else {
                continue;
            };
            let number = dataset.declaration;
            match batches.iter_mut().find(|one| one.batch.dataset.declaration == number) {
                Some(batch) => batch.add(chunk),
                None => batches.push(ParsedBatch::new(dataset, self.redact_key.clone(), chunk)),
            }
        }
        batches
    }

    /// Records that a suspected chunk is about to be tried alone, or that it is dead after `limit` attempts.
    pub async fn suspect(&self, chunk: &Chunk, limit: u32) -> Result<SuspectAction, FailureAction> {
        Ok(self.ledger.chunks.suspect(&chunk.range(), limit).await?)
    }

    /// Takes a batch through all steps. After a failure, also does what has to be done before they are taken again.
    pub async fn commit(&self, parsed: ParsedBatch) -> Result<ChunkResults, Failed> {
        let ParsedBatch { mut batch, chunks } = parsed;
        match self.attempt(&mut batch, chunks).await {
            Ok(()) => Ok(ChunkResults(batch.ended)),
            Err(failure) => Err(Failed { batch, failure }),
        }
    }

    async fn attempt(
        &self,
        batch: &mut Batch,
        mut chunks: Vec<Parsed>,
    ) -> Result<(), FailureAction> {
        if chunks.is_empty() {
            return Ok(());
        }
        let epoch = self.epochs.current().await?;
        let dataset = self.declarations.under(epoch.id, &batch.dataset).await?;
        if !Arc::ptr_eq(&dataset, &batch.dataset) {
            // A restored database may have given the number to another declaration.
            batch.dataset = dataset;
            chunks = batch.parsed();
        }
        let steps = async {
            let admitted = self.admit(&epoch, batch, chunks).await?;
            let claimed = self.claim(batch, admitted).await?;
            self.commit_claimed(batch, claimed).await
        };
        let Err(failure) = steps.await else {
            return Ok(());
        };
        self.prepare_retry(&epoch, batch, failure).await?;
        Err(FailureAction::Again)
    }

    async fn admit<'a>(
        &self,
        epoch: &'a Epoch,
        batch: &mut Batch,
        mut chunks: Vec<Parsed>,
    ) -> Result<Admitted<'a>, FailureAction> {
        if epoch.claims(&batch.dataset.name) {
            // Lines that were refused under an earlier epoch may be accepted now. Without them, the lines that they
            // supersede would be claimed in their place.
            batch.clear_refusals(&mut chunks);
        }
        let ranges: Vec<&ChunkRange> = chunks.iter().map(|chunk| &chunk.range).collect();
        match self.admissions.admit(epoch, &ranges).await? {
            Admission::All | Admission::AllNow => Ok(Admitted { epoch, chunks }),
            Admission::Except(stale) => Err(FailureAction::DiscardBeforeClaim(stale)),
            Admission::EpochEnded => Err(FailureAction::EpochEnded),
        }
    }

    async fn claim<'a>(
        &self,
        batch: &mut Batch,
        Admitted { epoch, chunks }: Admitted<'a>,
    ) -> Result<ClaimedRows<'a>, FailureAction> {
        let dataset = batch.dataset.clone();
        let is_claimed = epoch.claims(&dataset.name);
        let kind = if is_claimed { SpanKind::Client } else { SpanKind::Internal };
        let span = BatchSpan::begin(&kind, "claim", batch.queue_chunks());
        if is_claimed {
            span.set("db.system.name", "redis");
        }
        // A call that fails may have claimed.
        let is_claimed_again = batch.claimed_under.replace(epoch.id) == Some(epoch.id);
        let rows = claim(&*self.dedup, epoch, batch.settled(), &dataset, chunks).await;
        if let Ok(rows) = &rows {
            span.set("jetline.claim.lost", rows.is_none());
        }
        span.end_with(&rows);
        let mut rows = rows?.ok_or(FailureAction::EpochEnded)?;
        if is_claimed_again {
            rows.iter_mut().for_each(ChunkRows::forget_earlier_claims);
        }
        Ok(ClaimedRows { epoch, rows })
    }

    async fn commit_claimed(
        &self,
        batch: &mut Batch,
        ClaimedRows { epoch, rows }: ClaimedRows<'_>,
    ) -> Result<(), FailureAction> {
        let dataset = batch.dataset.clone();
        let span = BatchSpan::begin(&SpanKind::Client, "commit", batch.queue_chunks());
        span.set("db.system.name", self.ledger.chunks.system());
        span.set("db.collection.name", dataset.name.clone());
        let count = rows.iter().map(|chunk| chunk.rows.len()).sum();
        span.set("jetline.batch.rows", saturating_i64(count));
        let on_refused_row = self.on_refused_row(epoch, batch);
        let mut rejected: Vec<_> = rows.iter().map(|chunk| chunk.rejected.clone()).collect();
        let outcome = if on_refused_row == OnRefusedRow::RejectNow {
            // Its future is large: boxed, so that not every commit allocates room for it.
            Box::pin(self.commit_and_reject(epoch.id, batch, rows, &mut rejected)).await
        } else {
            self.ledger.chunks.commit(epoch.id, &dataset, rows).await
        };
        if let Ok(outcome) = &outcome {
            span.set("jetline.commit.outcome", outcome_name(outcome));
        }
        span.end_with(&outcome);
        let outcomes = outcomes_or_failure(outcome, on_refused_row)?;
        if !dataset.destinations.is_empty() && outcomes.iter().any(changes_content) {
            self.wakeup.notify().await;
        }
        batch.complete(&outcomes, &rejected);
        Ok(())
    }
}

/// Whether a chunk may have changed rows, so that there is something to deliver.
fn changes_content(outcome: &ChunkOutcome) -> bool {
    matches!(outcome, ChunkOutcome::Committed(counts) if counts.inserted + counts.updated + counts.deleted > 0)
}

fn outcome_name(outcome: &CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Committed(_) => "committed",
        CommitOutcome::Raced => "raced",
        CommitOutcome::EpochEnded => "epoch_ended",
        CommitOutcome::NotWritten => "not_written",
        CommitOutcome::Stale(_) => "stale",
        CommitOutcome::Repeated(_) => "repeated",
    }
}
