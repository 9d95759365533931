//! The parts, embedded or real, and how they go together.

use std::{num::NonZeroUsize, sync::Arc};

use anyhow::{Context, bail};
use jetline_connections::{DedupMode, connect_database, connect_queue};
use jetline_dedup::{Dedup, WithoutStore};
use jetline_fetcher::{FetcherSettings, ReplaySettings, Replayed, Sources};
use jetline_migrations::migrate;
use jetline_queue::{InProcess, Queue};
use jetline_records::Mode;
use jetline_runtime::Shutdown;
use jetline_store::Ledger;
use jetline_writer::{Writer, WriterSettings};
use sea_orm::DatabaseConnection;
use tokio::task::JoinHandle;

use crate::settings::Cli;

/// How many bytes of lines may be between the fetcher and the writer of one process.
const IN_PROCESS_BYTES: u32 = 16 << 20;

/// Everything that the three services work on.
pub(crate) struct Parts {
    pub(crate) db: DatabaseConnection,
    pub(crate) ledger: Ledger,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) sources: Sources,
    pub(crate) fetcher: FetcherSettings,
    writer: WriterSettings,
    dedup: Arc<dyn Dedup>,
}

impl Parts {
    pub(crate) async fn connect(cli: &Cli) -> anyhow::Result<Self> {
        if cli.queue.nats_url.is_some() && !has_dedup(cli) {
            bail!(
                "NATS_URL is set and REDIS_URL is not: writers that share a queue need a dedup store, \
                 or DEDUP=off for all of them"
            );
        }
        let sources = Sources::open(&cli.fetcher, &cli.s3, &cli.startup).await?;
        let db = migrated_database(cli).await?;
        let mut parts = Self {
            ledger: Ledger::new(db.clone(), chrono::Utc::now),
            db,
            queue: queue(cli).await?,
            sources,
            fetcher: cli.fetcher.clone(),
            writer: cli.writer.clone(),
            dedup: dedup(cli).await?,
        };
        if parts.dedup.mode() == Mode::InOrder {
            // Chunks come in the order of the lines only while one reader sends them; and an unchanged row may be left
            // alone only while no object before its own is still being read.
            parts.fetcher.fetch_objects = NonZeroUsize::MIN;
            parts.fetcher.fetch_batch = NonZeroUsize::MIN;
        }
        Ok(parts)
    }

    /// Starts writing, before anything is read; it ends with the shutdown.
    pub(crate) async fn spawn_writer(
        &self,
        shutdown: &Shutdown,
    ) -> Result<JoinHandle<Result<(), jetline_writer::Error>>, jetline_writer::Error> {
        let (queue, dedup, ledger) = (self.queue.clone(), self.dedup.clone(), self.ledger.clone());
        let writer = Writer::new(&self.writer, queue, dedup, ledger, rand::random());
        writer.begin(shutdown).await?;
        let shutdown = shutdown.clone();
        Ok(tokio::spawn(async move { writer.run(&shutdown).await }))
    }
}

/// Has objects read again by whoever loads next.
pub(crate) async fn replay(cli: &Cli, which: &ReplaySettings) -> anyhow::Result<Replayed> {
    let sources = Sources::open(&cli.fetcher, &cli.s3, &cli.startup).await?;
    let ledger = Ledger::new(migrated_database(cli).await?, chrono::Utc::now);
    jetline_fetcher::replay(which, &cli.fetcher, &sources, &ledger, rand::random()).await
}

async fn migrated_database(cli: &Cli) -> anyhow::Result<DatabaseConnection> {
    let db = connect_database(&cli.database, &cli.startup).await?;
    migrate(&db)
        .await
        .context("cannot bring the database's schema up to date (DATABASE_URL)")?;
    Ok(db)
}

async fn queue(cli: &Cli) -> anyhow::Result<Arc<dyn Queue>> {
    if cli.queue.nats_url.is_none() {
        return Ok(Arc::new(InProcess::new(IN_PROCESS_BYTES)));
    }
    connect_queue(&cli.queue, &cli.startup).await
}

fn has_dedup(cli: &Cli) -> bool {
    cli.dedup.redis.redis_url.is_some() || cli.dedup.dedup == DedupMode::Off
}

/// A queue of this process keeps the order of the lines and has one writer, which needs no dedup store.
async fn dedup(cli: &Cli) -> anyhow::Result<Arc<dyn Dedup>> {
    if has_dedup(cli) {
        return cli.dedup.connect(&cli.startup).await;
    }
    Ok(Arc::new(WithoutStore::in_order()))
}
