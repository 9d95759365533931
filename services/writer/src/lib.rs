//! The writer: consumes chunks and commits them, in these steps:
//!
//! delivery → [`parse`] → [`claim`] → [`commit`] (rows and ledger entry in one transaction) → ack.
//!
//! Any number of writers run at the same time, each with several workers. A worker takes as many chunks as one
//! transaction may hold and carries them through all steps; whatever is not there at the moment, it waits for.

pub mod claim;
pub mod commit;
pub mod epochs;
pub mod parse;
mod settings;
mod worker;

use std::sync::Arc;

use jetline_dedup::Dedup;
use jetline_queue::Queue;
use jetline_records::registry;
use jetline_runtime::Shutdown;
use jetline_store::Ledger;
pub use settings::WriterSettings;
use tokio::task::JoinSet;

use crate::{commit::Committer, epochs::Epochs, worker::Worker};

/// Why a writer ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another mode of dedup is in use, or another process took over.
    #[error(transparent)]
    OtherMode(jetline_store::Error),
    /// A worker panicked.
    #[error("a worker crashed")]
    Crashed(#[source] tokio::task::JoinError),
}

/// Consumes chunks until the shutdown; what is in flight then is finished first.
pub async fn run(
    settings: &WriterSettings,
    queue: Arc<dyn Queue>,
    dedup: Arc<dyn Dedup>,
    ledger: Ledger,
    seed: u64,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let epochs = Epochs::new(ledger.clone(), dedup.clone(), seed);
    let committer = Arc::new(Committer::new(ledger, dedup, epochs, registry::datasets()));
    let alone = Arc::default();
    let mut workers = JoinSet::new();
    for number in 0..settings.writer_workers.get() {
        let seed = seed.wrapping_add(number as u64);
        let worker = Worker::new(
            settings,
            queue.clone(),
            committer.clone(),
            Arc::clone(&alone),
            seed,
        );
        let shutdown = shutdown.clone();
        workers.spawn(async move { worker.run(&shutdown).await });
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(Error::Crashed)??;
    }
    Ok(())
}
