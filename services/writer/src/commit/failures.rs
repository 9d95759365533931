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
    failure::{FailureAction, OnRefusedRow},
    parse::{Parsed, ParsedRecord},
};

impl Committer {
    /// Does what a failure requires before the steps are taken again; returns what only the worker can handle.
    pub(super) async fn prepare_retry(
        &self,
        epoch: &Epoch,
        batch: &mut Batch,
        failure: FailureAction,
    ) -> Result<(), FailureAction> {
        match failure {
            FailureAction::EpochEnded => drop(self.epochs.after(epoch.id).await?),
            FailureAction::DiscardBeforeClaim(stale) => batch.discard(&stale),
            FailureAction::DiscardAfterClaim(stale) => {
                if stale.iter().any(|range| range.object >= epoch.base) {
                    self.ledger.epochs.end(epoch.id, self.epochs.next_id().await).await?;
                }
                batch.discard(&stale);
            }
            FailureAction::Repeated(repeated) => batch.remove_repeated(&repeated),
            FailureAction::RejectInNextCommit(error) => {
                tracing::debug!(%error, "commit failed, will reject the lines of refused rows");
                batch.may_have_refused_row = true;
            }
            FailureAction::Search(error) => {
                Box::pin(self.reject_refused(epoch, batch, error)).await?;
            }
            FailureAction::Again
            | FailureAction::Split
            | FailureAction::Retry(..)
            | FailureAction::Fatal(_) => {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// What to do about a row that the database refuses in the next commit of a batch.
    pub(super) fn on_refused_row(&self, epoch: &Epoch, batch: &Batch) -> OnRefusedRow {
        let dataset = &*batch.dataset.name;
        if epoch.claims(dataset) {
            OnRefusedRow::Search
        } else if batch.may_have_refused_row || self.datasets_with_refusals().contains(dataset) {
            OnRefusedRow::RejectNow
        } else {
            OnRefusedRow::RejectInNextCommit
        }
    }

    fn datasets_with_refusals(&self) -> MutexGuard<'_, HashSet<String>> {
        self.datasets_with_refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits chunks and rejects the lines of refused rows meanwhile: adds them to the rejected lines of each chunk.
    pub(super) async fn commit_and_reject(
        &self,
        epoch: EpochId,
        batch: &mut Batch,
        rows: Vec<ChunkRows>,
        rejected: &mut [Vec<RejectedLine>],
    ) -> Result<CommitOutcome, jetline_store::Error> {
        let dataset = batch.dataset.clone();
        let mut any = false;
        let mut reject = |refused| {
            any = true;
            batch.reject_without_reparse(refused, rejected);
            rejected.to_vec()
        };
        let chunks = &self.ledger.chunks;
        let outcome = chunks.commit_and_reject(epoch, &dataset, rows, &mut reject).await;
        if any {
            self.datasets_with_refusals().insert(dataset.name.clone());
        } else {
            self.datasets_with_refusals().remove(&dataset.name);
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
        batch: &mut Batch,
        error: Option<jetline_store::Error>,
    ) -> Result<(), FailureAction> {
        let dataset = batch.dataset.clone();
        let mut parsed = batch.parsed();
        let mut rows = latest(&parsed, epoch.mode, |_| true);
        let mut any = false;
        loop {
            let refused = self.ledger.chunks.refused(&dataset, rows).await?;
            if refused.is_empty() {
                break;
            }
            any = true;
            let ids = batch.reject_and_reparse(refused, &mut parsed);
            rows = latest(&parsed, epoch.mode, |id| ids.contains(id));
        }
        if any {
            let dataset = &*dataset.name;
            self.datasets_with_refusals().insert(dataset.to_owned());
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
            return Err(FailureAction::Split);
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
    latest.into_values().map(|record| record.clone().into_unclaimed_row(mode)).collect()
}
