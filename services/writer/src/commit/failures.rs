//! Handles failures before the steps are taken again. Lines of rows that the database refuses are rejected.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{MutexGuard, PoisonError},
};

use jetline_core::{Epoch, EpochId, Key, Mode};
use jetline_store::{ChunkRows, CommitOutcome, RejectedLine, UpsertRow};

use super::Committer;
use crate::{
    batch::Batch,
    failure::Failure,
    parse::{Parsed, ParsedRecord},
};

impl Committer {
    /// Does what a failure requires before the steps are taken again; returns what only the worker can handle.
    pub(super) async fn handle(
        &self,
        epoch: &Epoch,
        batch: &mut Batch<'_>,
        failure: Failure,
    ) -> Result<(), Failure> {
        match failure {
            Failure::EpochEnded => drop(self.epochs.after(epoch.id).await?),
            Failure::Discard(stale) => batch.discard(&stale),
            Failure::DiscardClaimed(stale) => {
                if stale.iter().any(|entry| entry.object >= epoch.base) {
                    self.ledger.epochs.end(epoch.id, self.epochs.next_id().await).await?;
                }
                batch.discard(&stale);
            }
            Failure::Repeated(repeated) => batch.remove_repeated(&repeated),
            Failure::RejectInCommit(error) => {
                tracing::debug!(%error, "commit failed, will reject the lines of refused rows");
                batch.was_refused = true;
            }
            Failure::Reject(error) => Box::pin(self.reject_refused(epoch, batch, error)).await?,
            Failure::Again | Failure::Split | Failure::Retry(..) | Failure::Fatal(_) => {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Whether a commit of a batch that is not claimed may have a row that the database refuses.
    pub(super) fn expects_refusals(&self, batch: &Batch<'_>) -> bool {
        batch.was_refused || self.refused_lately().contains(batch.dataset.name)
    }

    fn refused_lately(&self) -> MutexGuard<'_, HashSet<&'static str>> {
        self.refused_lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits chunks and rejects the lines of refused rows meanwhile: adds them to the rejected lines of each chunk.
    pub(super) async fn commit_and_reject(
        &self,
        epoch: EpochId,
        batch: &mut Batch<'_>,
        rows: Vec<ChunkRows>,
        rejected: &mut [Vec<RejectedLine>],
    ) -> Result<CommitOutcome, jetline_store::Error> {
        let dataset = batch.dataset;
        let mut any = false;
        let mut reject = |refused| {
            any = true;
            batch.reject_in_commit(refused, rejected);
            rejected.to_vec()
        };
        let chunks = &self.ledger.chunks;
        let outcome = chunks.commit_and_reject(epoch, &dataset.table, rows, &mut reject).await;
        if any {
            self.refused_lately().insert(dataset.name);
        } else {
            self.refused_lately().remove(dataset.name);
        }
        outcome
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
    ) -> Result<(), Failure> {
        let (dataset, table) = (batch.dataset.name, &batch.dataset.table);
        let mut parsed = batch.parsed();
        let mut rows = latest(&parsed, epoch.mode, |_| true);
        let mut any = false;
        loop {
            let refused = self.ledger.chunks.refused(table, rows).await?;
            if refused.is_empty() {
                break;
            }
            any = true;
            let ids = batch.reject(refused, &mut parsed);
            rows = latest(&parsed, epoch.mode, |id| ids.contains(id));
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
            return Ok(());
        }
        if parsed.len() > 1 {
            return Err(Failure::Split);
        }
        Err(error.unwrap_or(jetline_store::Error::Suppressed).into())
    }
}

/// The row with the highest rank of each id over all chunks; of all ids, or of some.
fn latest(chunks: &[Parsed], mode: Mode, of: impl Fn(&Key) -> bool) -> Vec<UpsertRow> {
    let mut latest: HashMap<&Key, &ParsedRecord> = HashMap::new();
    let records = chunks.iter().flat_map(|chunk| &chunk.records);
    for new in records.filter(|record| of(&record.row.key)) {
        match latest.entry(&new.row.key) {
            Entry::Occupied(other) if new.rank() <= other.get().rank() => {}
            entry => drop(entry.insert_entry(new)),
        }
    }
    let rows = latest.into_values().map(|record| UpsertRow {
        row: record.row.clone(),
        position: record.position,
        if_changed: mode == Mode::InOrder,
    });
    rows.collect()
}
