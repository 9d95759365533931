//! The writer: consumes chunks and commits them, in these steps:
//!
//! delivery → [`parse`] → [`claim`] → [`commit`] (rows and ledger entry in one transaction) → ack.
//!
//! Any number of writers run at the same time, each with several workers. A worker takes as many chunks as one
//! transaction may hold and carries them through all steps; whatever is not there at the moment, it waits for. Where
//! commits must stand in the order of the lines, workers take turns at it: one parses while another one commits.

pub mod admission;
pub mod claim;
pub mod commit;
mod contention;
pub mod epochs;
mod group;
pub mod parse;
mod parts;
mod settings;
mod stage;
mod turns;
mod worker;

use std::sync::Arc;

use jetline_dedup::Dedup;
use jetline_queue::Queue;
use jetline_records::{Mode, registry};
use jetline_runtime::Shutdown;
use jetline_store::Ledger;
pub use settings::WriterSettings;
use tokio::task::JoinSet;

use crate::{commit::Committer, epochs::Epochs, turns::Turns, worker::Worker};

/// Why a writer ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another mode of dedup is in use, or another process took over.
    #[error(transparent)]
    Ousted(jetline_store::Error),
    /// The table of a dataset cannot be written.
    #[error(transparent)]
    Table(jetline_store::Error),
    /// A worker panicked.
    #[error("a worker crashed")]
    Crashed(#[source] tokio::task::JoinError),
}

/// Begins and consumes, until the shutdown.
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
    turns: Turns,
    seed: u64,
}

impl Writer {
    /// A writer that does nothing yet; `seed` makes the ids of epochs and spreads delays.
    #[must_use]
    pub fn new(
        settings: &WriterSettings,
        queue: Arc<dyn Queue>,
        dedup: Arc<dyn Dedup>,
        ledger: Ledger,
        seed: u64,
    ) -> Self {
        let turns = match dedup.mode() {
            Mode::InOrder => Turns::in_order(),
            _ => Turns::free(),
        };
        let epochs = Epochs::new(ledger.clone(), dedup.clone(), seed);
        let committer = Committer::new(ledger, dedup, epochs, registry::datasets());
        Self {
            settings: settings.clone(),
            queue,
            committer: Arc::new(committer),
            turns,
            seed,
        }
    }

    /// Joins the epoch in force, or begins one, however long that takes.
    ///
    /// In order, this is also when what another process left unfinished is opened for reading again: no reading may
    /// begin before.
    pub async fn begin(&self, shutdown: &Shutdown) -> Result<(), Error> {
        let begin = self.worker(0).begin();
        shutdown
            .soft
            .run_until_cancelled(begin)
            .await
            .unwrap_or(Ok(()))
    }

    /// Consumes chunks until the shutdown; what is in flight then is finished first.
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
            self.turns.clone(),
            self.seed.wrapping_add(number),
        )
    }
}
