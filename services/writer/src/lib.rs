//! The writer: consumes chunks and commits them, in these steps:
//!
//! delivery → [`parse`] → [`admission`] → [`claim`] → [`commit`] (rows and ledger entry in one transaction) → ack.
//!
//! Each step consumes what the one before returned. After a failure, which is handled as [`failure`] decides, the chunks
//! are parsed again.
//!
//! Any number of writers run concurrently, each with several workers. A worker receives as many chunks as one
//! transaction may hold and takes them through all steps; while a server is unavailable, it retries. Where commits must
//! be in the order of the lines, workers commit in the order of their tickets: one parses while another one commits.

pub mod admission;
mod batch;
mod batch_span;
pub mod claim;
mod cli;
pub mod commit;
mod commit_order;
mod contention;
pub mod declarations;
pub mod epochs;
pub mod failure;
mod outcome;
pub mod parse;
mod parse_memory;
mod settings;
mod worker;

use std::sync::Arc;

pub use cli::Cli;
use jetline_core::Mode;
use jetline_dedup::Dedup;
use jetline_queue::{Queue, Subject};
use jetline_runtime::{
    Shutdown,
    metrics::{
        CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES, EPOCHS, RETRIES, create_counter,
    },
};
use jetline_store::Ledger;
pub use settings::WriterSettings;
use tokio::task::JoinSet;

use crate::{commit::Committer, commit_order::CommitOrder, epochs::Epochs, worker::Worker};

/// Why a writer ends without a shutdown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger is in another dedup mode, or another process took it over.
    #[error(transparent)]
    Conflict(jetline_store::Error),
    /// The table of a dataset cannot be written.
    #[error(transparent)]
    Table(jetline_store::Error),
    /// A worker panicked.
    #[error("a worker crashed")]
    Crashed(#[source] tokio::task::JoinError),
}

/// Joins or begins an epoch and consumes chunks, until the shutdown.
pub async fn run(
    settings: &WriterSettings,
    queue: Arc<dyn Queue>,
    dedup: Arc<dyn Dedup>,
    ledger: Ledger,
    seed: u64,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let writer = Writer::new(settings, queue, dedup, ledger, seed);
    writer.begin(shutdown).await?;
    writer.run(shutdown).await
}

/// A writer with its workers.
pub struct Writer {
    settings: WriterSettings,
    queue: Arc<dyn Queue>,
    committer: Arc<Committer>,
    commit_order: CommitOrder,
    seed: u64,
}

impl Writer {
    /// A writer that is not started yet; `seed` seeds the ids of epochs and the jitter of retries.
    #[must_use]
    pub fn new(
        settings: &WriterSettings,
        queue: Arc<dyn Queue>,
        dedup: Arc<dyn Dedup>,
        ledger: Ledger,
        seed: u64,
    ) -> Self {
        let commit_order = match dedup.mode() {
            Mode::InOrder => CommitOrder::in_order(),
            _ => CommitOrder::unordered(),
        };
        let epochs = Epochs::new(ledger.clone(), dedup.clone(), seed);
        create_counters();
        let committer = Committer::new(ledger, dedup, epochs, queue.wakeup(Subject::Deliveries))
            .with_redaction(settings.redact_key.clone());
        Self {
            settings: settings.clone(),
            queue,
            committer: Arc::new(committer),
            commit_order,
            seed,
        }
    }

    /// Joins the epoch in force, or begins one; retries until it succeeds.
    ///
    /// In the in-order mode this also reopens unfinished objects: the fetcher must not start before it has returned.
    pub async fn begin(&self, shutdown: &Shutdown) -> Result<(), Error> {
        let begin = self.worker(0).begin();
        shutdown.soft.run_until_cancelled(begin).await.unwrap_or(Ok(()))
    }

    /// Consumes chunks until the shutdown; chunks in flight are finished first.
    pub async fn run(&self, shutdown: &Shutdown) -> Result<(), Error> {
        let mut workers = JoinSet::new();
        for number in 0..self.settings.writer_workers.get() {
            let (worker, shutdown) = (self.worker(number as u64), shutdown.clone());
            workers.spawn(async move { worker.run(&shutdown).await });
        }
        while let Some(ended) = workers.join_next().await {
            ended.map_err(Error::Crashed)??;
        }
        Ok(())
    }

    fn worker(&self, number: u64) -> Worker {
        let (queue, committer) = (self.queue.clone(), self.committer.clone());
        Worker::new(
            &self.settings,
            queue,
            committer,
            self.commit_order.clone(),
            self.seed.wrapping_add(number),
        )
    }
}

fn create_counters() {
    for name in [CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES, EPOCHS] {
        create_counter(name, &[]);
    }
    for part in ["queue", "dedup", "database"] {
        create_counter(RETRIES, &[("part", part)]);
    }
}
