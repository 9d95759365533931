//! From parsed chunks to committed ones, whatever stands in between.
//!
//! What a failure asks for is decided here, once: the database or the dedup store is away — wait and try again; a value
//! is not accepted — reject its line; the chunk belongs to nothing that is open — let it go.

use std::sync::Arc;

use jetline_dedup::Dedup;
use jetline_queue::Chunk;
use jetline_records::{Dataset, Epoch, Mode};
use jetline_runtime::{
    metrics::{CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES},
    telemetry::SpanKind,
};
use jetline_store::{
    ChunkEntry, ChunkRows, CommitOutcome, Counts, Ledger,
    ledger::{Admission, Suspicion},
};

use tokio::sync::RwLock;

pub use crate::group::Group;
use crate::{
    admission::Admissions,
    claim::{claim, write_through},
    epochs::{self, Epochs},
    group::count_lines,
    parse::{self, Parsed},
    stage::{self, Stage},
};

/// Commits chunks: any number at the same time.
pub struct Committer {
    ledger: Ledger,
    dedup: Arc<dyn Dedup>,
    epochs: Epochs,
    admissions: Admissions,
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
        count_from_zero(&datasets);
        Self {
            admissions: Admissions::new(ledger.clone()),
            ledger,
            dedup,
            epochs,
            datasets,
            alone: RwLock::new(()),
        }
    }

    /// Sees to it that the tables can be written, and joins the epoch in force or begins one.
    pub async fn begin(&self) -> Result<(), Error> {
        for dataset in &self.datasets {
            self.ledger.check_table(&dataset.table).await?;
        }
        self.epochs.current().await?;
        Ok(())
    }

    /// Whether this writer knows the dataset of a chunk; another one may, where versions are mixed.
    #[must_use]
    pub fn knows(&self, chunk: &Chunk) -> bool {
        let known = self.dataset(&chunk.dataset).is_some();
        if !known {
            chunk.log_span().in_scope(|| {
                tracing::error!(
                    dataset = chunk.dataset,
                    "this writer does not know the dataset, it leaves the chunk to another one: update it"
                );
            });
        }
        known
    }

    /// Parses chunks of known datasets into one group per dataset.
    #[must_use]
    pub fn parse(&self, chunks: Vec<Chunk>) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for chunk in chunks {
            let Some(dataset) = self.dataset(&chunk.dataset) else {
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
        groups
    }

    fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|known| known.name == name)
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
        if epoch.claims(group.dataset.name) {
            // What an earlier epoch refused may be accepted now; a claim in its stead would be of a line that is not.
            group.take_refused_again();
        }
        group.restore();
        if !self.admit(&epoch, group).await? {
            return Ok(Step::Again);
        }
        let Some(judged) = self.claim(&epoch, group).await? else {
            self.epochs.after(epoch.id).await?;
            return Ok(Step::Again);
        };
        self.commit(&epoch, judged, group).await
    }

    async fn claim(
        &self,
        epoch: &Epoch,
        group: &mut Group<'_>,
    ) -> Result<Option<Vec<ChunkRows>>, Error> {
        let is_asked = epoch.claims(group.dataset.name);
        let kind = if is_asked {
            SpanKind::Client
        } else {
            SpanKind::Internal
        };
        let stage = Stage::begin(&kind, "claim", group.chunks());
        if is_asked {
            stage.set("db.system.name", "redis");
        }
        let (settled, dataset) = (group.settled(), group.dataset.name);
        let parsed = group.items.iter_mut().map(|item| &mut item.parsed);
        let mut parsed: Vec<&mut Parsed> = parsed.collect();
        let claimed = if epoch.mode == Mode::Shared && !is_asked {
            Ok(Some(write_through(epoch, &mut parsed)))
        } else {
            claim(&*self.dedup, epoch, settled, dataset, &mut parsed).await
        };
        if let Ok(judged) = &claimed {
            stage.set("jetline.claim.lost", judged.is_none());
        }
        stage.end_with(&claimed);
        Ok(claimed?)
    }

    /// Whether a group may be claimed as it is now.
    async fn admit(&self, epoch: &Epoch, group: &mut Group<'_>) -> Result<bool, Error> {
        let entries = group.items.iter().map(|item| &item.parsed.entry);
        let entries: Vec<&ChunkEntry> = entries.collect();
        match self.admissions.admit(epoch, &entries).await? {
            Admission::All => Ok(true),
            Admission::Except(stale) => {
                group.let_go(&stale);
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
        judged: Vec<ChunkRows>,
        group: &mut Group<'_>,
    ) -> Result<Step, Error> {
        let table = &group.dataset.table;
        let shared = Stage::begin(&SpanKind::Client, "commit", group.chunks());
        shared.set("db.system.name", self.ledger.system());
        shared.set("db.collection.name", group.dataset.name);
        let rows = judged.iter().map(|chunk| chunk.rows.len()).sum();
        shared.set("jetline.group.rows", stage::count(rows));
        let committed = self.ledger.commit(epoch.id, table, judged).await;
        if let Ok(outcome) = &committed {
            shared.set("jetline.commit.outcome", name(outcome));
        }
        shared.end_with(&committed);
        match committed {
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
            Ok(CommitOutcome::Repeated(repeated)) => {
                group.drop_repeated(&repeated);
                Ok(Step::Again)
            }
            Ok(CommitOutcome::Suppressed) => {
                Box::pin(self.reject_refused(epoch, group, None)).await
            }
            Err(error) if error.may_be_of_a_row() => {
                // Rare, and large: not a part of every commit's future.
                Box::pin(self.reject_refused(epoch, group, Some(error))).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Lets chunks go whose object failed without them. What they claimed will never be committed, which ends the epoch.
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
        group.let_go(stale);
        Ok(())
    }

    /// Leaves out the lines that the database does not accept, until it accepts the rest: a line that stands in for a
    /// refused one may be refused as well. They are rejected with their chunks' commit.
    ///
    /// Lines that were claimed under an epoch in which the dataset is claimed will never be committed, which ends it. From
    /// then on nothing of the dataset is claimed, so that later refusals end none.
    async fn reject_refused(
        &self,
        epoch: &Epoch,
        group: &mut Group<'_>,
        error: Option<jetline_store::Error>,
    ) -> Result<Step, Error> {
        group.restore();
        let (dataset, table) = (group.dataset.name, &group.dataset.table);
        let mut rows = group.latest(epoch.mode, |_| true);
        let mut any = false;
        loop {
            let refused = self.ledger.refused(table, rows).await?;
            if refused.is_empty() {
                break;
            }
            any = true;
            let ids = group.leave_out(refused);
            rows = group.latest(epoch.mode, |id| ids.contains(id));
        }
        if any {
            if epoch.claims(dataset) {
                let next = self.epochs.next_id().await;
                if self.ledger.write_through(dataset, next).await? {
                    tracing::warn!(
                        dataset,
                        "the database refused a record: from now on the records of this dataset are written without \
                         dedup, until a replay"
                    );
                }
            }
            return Ok(Step::Again);
        }
        if group.items.len() > 1 {
            return Ok(Step::Split);
        }
        Err(error.unwrap_or(jetline_store::Error::Suppressed).into())
    }
}

fn name(outcome: &CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Committed(_) => "committed",
        CommitOutcome::Raced => "raced",
        CommitOutcome::EpochEnded => "epoch_ended",
        CommitOutcome::Suppressed => "suppressed",
        CommitOutcome::Stale(_) => "stale",
        CommitOutcome::Repeated(_) => "repeated",
    }
}

/// A counter that is not there before its first event hides that event from whoever looks for a rise.
fn count_from_zero(datasets: &[Dataset]) {
    for counter in [CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES] {
        metrics::counter!(counter).increment(0);
    }
    for dataset in datasets {
        count_lines(dataset.name, &Counts::default());
    }
}
