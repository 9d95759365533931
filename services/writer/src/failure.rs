//! How failures are handled: decided here, done by [`Committer`](crate::commit::Committer) and the workers.

use std::error::Error;

use jetline_core::ChunkRange;
use jetline_store::{ChunkOutcome, CommitOutcome};

use crate::{batch::Batch, epochs};

/// A batch that did not get through its steps, and how that is handled.
pub struct Failed {
    /// The batch, whose chunks are to be parsed again.
    pub batch: Batch,
    /// How the failure is handled.
    pub failure: FailureAction,
}

/// How the failure of a step is handled. In every case except [`FailureAction::Fatal`], the steps are taken again.
#[derive(Debug)]
pub enum FailureAction {
    /// Take the steps again at once: a concurrent transaction committed one of the chunks, or the committer has handled the
    /// failure.
    Again,
    /// Take the steps again under the next epoch.
    EpochEnded,
    /// Discard these chunks: their object has another incarnation, or is not registered, or they are dead.
    DiscardBeforeClaim(Vec<ChunkRange>),
    /// Discard these chunks: their object has another incarnation, is not registered, or has failed. Their claims will
    /// never be committed, which ends the epoch.
    DiscardAfterClaim(Vec<ChunkRange>),
    /// Remove these chunks, which were committed before.
    Repeated(Vec<ChunkRange>),
    /// Reject the lines of refused rows in the next commit.
    RejectInNextCommit(jetline_store::Error),
    /// Search for refused rows, and reject their lines.
    Search(Option<jetline_store::Error>),
    /// Take each chunk alone: the database refuses them together and accepts each alone.
    Split,
    /// Take the steps again after a delay: this part failed. Errors that are not transient are retried as well: no chunk is dead-lettered
    /// because the database refuses a statement.
    Retry(&'static str, Box<dyn Error + Send + Sync>),
    /// End the writer.
    Fatal(crate::Error),
}

impl From<jetline_store::Error> for FailureAction {
    fn from(error: jetline_store::Error) -> Self {
        use jetline_store::Error::{ModeMismatch, TakenOver};
        match error {
            ModeMismatch { .. } | TakenOver => Self::Fatal(crate::Error::Conflict(error)),
            _ => Self::Retry("database", Box::new(error)),
        }
    }
}

impl FailureAction {
    /// At start, a table that cannot be written ends the writer; later, it is waited for.
    pub(crate) fn at_start(error: jetline_store::Error) -> Self {
        match error {
            jetline_store::Error::UnknownRequiredColumn { .. } => {
                Self::Fatal(crate::Error::Table(error))
            }
            _ => error.into(),
        }
    }
}

impl From<jetline_dedup::Error> for FailureAction {
    fn from(error: jetline_dedup::Error) -> Self {
        Self::Retry("dedup", Box::new(error))
    }
}

impl From<epochs::Error> for FailureAction {
    fn from(error: epochs::Error) -> Self {
        match error {
            epochs::Error::Ledger(error) => error.into(),
            epochs::Error::Dedup(error) => error.into(),
        }
    }
}

/// What to do about a row that the database refuses in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRefusedRow {
    /// Reject its line in the commit.
    RejectNow,
    /// Reject its line in the next commit.
    RejectInNextCommit,
    /// Search for it, and reject its line.
    Search,
}

/// The outcomes of the chunks that were committed, or what to do if they were not.
pub(crate) fn outcomes_or_failure(
    outcome: Result<CommitOutcome, jetline_store::Error>,
    on_refused_row: OnRefusedRow,
) -> Result<Vec<ChunkOutcome>, FailureAction> {
    Err(match outcome {
        Ok(CommitOutcome::Committed(outcomes)) => return Ok(outcomes),
        Ok(CommitOutcome::Raced) => FailureAction::Again,
        Ok(CommitOutcome::EpochEnded) => FailureAction::EpochEnded,
        Ok(CommitOutcome::Stale(stale)) => FailureAction::DiscardAfterClaim(stale),
        Ok(CommitOutcome::Repeated(repeated)) => FailureAction::Repeated(repeated),
        Ok(CommitOutcome::NotWritten) => FailureAction::Search(None),
        Err(error) if !error.may_be_caused_by_row() => error.into(),
        Err(error) if on_refused_row == OnRefusedRow::RejectInNextCommit => {
            FailureAction::RejectInNextCommit(error)
        }
        Err(error) => FailureAction::Search(Some(error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_that_is_added_while_the_writer_runs_is_waited_for() {
        let added = || jetline_store::Error::UnknownRequiredColumn {
            table: "products".to_owned(),
            column: "colour".to_owned(),
        };
        assert!(matches!(FailureAction::from(added()), FailureAction::Retry("database", _)));
        assert!(matches!(
            FailureAction::at_start(added()),
            FailureAction::Fatal(crate::Error::Table(_))
        ));
    }
}
