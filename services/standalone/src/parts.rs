//! The parts of the process, embedded or on servers, and their construction.

use std::{num::NonZeroUsize, sync::Arc};

use anyhow::Context;
use jetline_core::Mode;
use jetline_dedup::{Dedup, DedupMode, WithoutStore};
use jetline_fetcher::{FetcherSettings, Sources};
use jetline_migrations::migrate;
use jetline_queue::{InProcess, Queue};
use jetline_runtime::{
    Shutdown,
    settings::{self, Invalid},
};
use jetline_store::{Database, DatasetSettings, Ledger};
use jetline_writer::{Writer, WriterSettings};
use tokio::task::JoinHandle;

use crate::{cli::Cli, files, sources::sources};

/// The capacity of the in-process queue, in bytes of lines.
const IN_PROCESS_CAPACITY: u32 = 16 << 20;

/// Everything that the three services need.
pub(crate) struct Parts {
    pub(crate) database: Database,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) sources: Sources,
    pub(crate) fetcher: FetcherSettings,
    writer: WriterSettings,
    dedup: Arc<dyn Dedup>,
}

/// Refuses settings that are malformed or contradict each other.
pub(crate) fn check(cli: &Cli) -> anyhow::Result<()> {
    let is_shared = cli.queue.nats_url.is_some();
    let dedup = if is_shared && !has_dedup(cli) {
        Err(Invalid::new(
            "NATS_URL is set and REDIS_URL is not: writers that share a queue need a dedup store, or DEDUP=off for all of them",
        )
        .into())
    } else if has_dedup(cli) {
        cli.dedup.check()
    } else {
        Ok(())
    };
    settings::check([
        cli.fetcher.check_limits(),
        if is_shared { cli.queue.check() } else { Ok(()) },
        dedup,
        writer(cli).map(drop),
        cli.courier.check(),
        cli.database.check(),
        cli.api.check(),
    ])
}

impl Parts {
    /// Connects the parts and applies the migrations.
    pub(crate) async fn connect(cli: &Cli, database: Database) -> anyhow::Result<Self> {
        up_to_date(&database, &cli.datasets).await?;
        if cli.infer {
            files::declare_missing(cli, &database).await?;
        }
        files::check(&cli.files, &cli.fetcher, &database.datasets().await?)?;
        let (fetcher, sources) = sources(cli, &database).await?;
        let mut parts = Self {
            queue: queue(cli, &database).await?,
            database,
            sources,
            fetcher,
            writer: writer(cli)?,
            dedup: dedup(cli).await?,
        };
        if parts.dedup.mode() == Mode::InOrder {
            // Chunks arrive in the order of the lines only with one reader; and an unchanged row may be skipped only
            // while no lower object is still being read.
            parts.fetcher.fetch_objects = NonZeroUsize::MIN;
            parts.fetcher.fetch_batch = NonZeroUsize::MIN;
        }
        Ok(parts)
    }

    /// Starts the writer, before anything is read; it ends with the shutdown.
    pub(crate) async fn spawn_writer(
        &self,
        shutdown: &Shutdown,
    ) -> Result<JoinHandle<Result<(), jetline_writer::Error>>, jetline_writer::Error> {
        let (queue, dedup) = (self.queue.clone(), self.dedup.clone());
        let ledger = Ledger::new(&self.database, chrono::Utc::now);
        let writer = Writer::new(&self.writer, queue, dedup, ledger, rand::random());
        writer.begin(shutdown).await?;
        let (shutdown, tasks) = (shutdown.clone(), shutdown.tasks.clone());
        Ok(tasks.spawn(async move { writer.run(&shutdown).await }))
    }
}

/// Applies the migrations that are missing.
pub(crate) async fn migrated(database: &Database) -> anyhow::Result<()> {
    migrate(database.connection())
        .await
        .context("cannot bring the database's schema up to date (DATABASE_URL)")?;
    Ok(())
}

/// Applies the migrations that are missing, and the declarations.
pub(crate) async fn up_to_date(
    database: &Database,
    datasets: &DatasetSettings,
) -> anyhow::Result<()> {
    let declared = datasets.read()?;
    migrated(database).await?;
    for done in database.declare(&declared).await? {
        tracing::info!("{done}");
    }
    Ok(())
}

async fn queue(cli: &Cli, database: &Database) -> anyhow::Result<Arc<dyn Queue>> {
    if cli.queue.nats_url.is_none() {
        return Ok(Arc::new(InProcess::new(IN_PROCESS_CAPACITY)));
    }
    let (identity, read) = (database.identity().await?, database.identity_reader());
    cli.queue.connect(&cli.startup, identity, read).await
}

fn writer(cli: &Cli) -> anyhow::Result<WriterSettings> {
    let settings =
        WriterSettings { redact_key: cli.redaction.redact_key.clone(), ..cli.writer.clone() };
    if cli.queue.nats_url.is_none() {
        return Ok(settings);
    }
    settings.with_ack_wait(cli.queue.nats_ack_wait)
}

fn has_dedup(cli: &Cli) -> bool {
    cli.dedup.redis.redis_url.is_some() || cli.dedup.dedup == DedupMode::Off
}

/// The in-process queue keeps the order of the lines and has one writer, which needs no dedup store.
async fn dedup(cli: &Cli) -> anyhow::Result<Arc<dyn Dedup>> {
    if has_dedup(cli) {
        return cli.dedup.connect(&cli.startup).await;
    }
    Ok(Arc::new(WithoutStore::in_order()))
}
