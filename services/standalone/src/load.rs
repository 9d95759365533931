//! Loads, and serves what is loaded unless it is to end then.

use std::net::SocketAddr;

use anyhow::Context;
use jetline_fetcher::{Report, Sources};
use jetline_runtime::{Shutdown, metrics};
use sea_orm::DatabaseConnection;
use tokio::task::JoinHandle;

use crate::{parts::Parts, settings::Cli, terminal};

/// Loads, then serves; says whether everything was committed.
pub(crate) async fn load(
    cli: &Cli,
    sources: Sources,
    db: DatabaseConnection,
    shutdown: &Shutdown,
) -> anyhow::Result<bool> {
    let connecting = Parts::connect(cli, sources, db.clone());
    let parts = shutdown.started(connecting).await?;
    let serving = if cli.exit {
        None
    } else {
        Some(Serving::start(cli, db.clone(), shutdown).await?)
    };
    let writing = parts
        .spawn_writer(shutdown)
        .await
        .context("the writer cannot begin")?;
    if let (Some(serving), Some(_)) = (&serving, parts.fetcher.watch) {
        terminal::tell_urls(serving.address, &db).await;
    }

    let report = fetch(parts, writing, shutdown).await?;
    let interrupted = shutdown.soft.is_cancelled();
    let told = terminal::tell(&report, interrupted);
    let Some(serving) = serving else {
        told?;
        return Ok(report.is_complete() && !interrupted);
    };
    terminal::warn(told);
    if !interrupted {
        terminal::tell_urls(serving.address, &db).await;
    }
    serving.task.await.context("the api crashed")?;
    Ok(report.is_complete())
}

/// Fetches until everything is committed or the shutdown begins; an error where the writer has ended by itself.
async fn fetch(
    parts: Parts,
    writing: JoinHandle<Result<(), jetline_writer::Error>>,
    shutdown: &Shutdown,
) -> anyhow::Result<Report> {
    let fetching = jetline_fetcher::run(
        &parts.fetcher,
        parts.sources,
        parts.queue,
        parts.ledger,
        rand::random(),
        shutdown,
    );
    tokio::pin!(fetching);
    tokio::select! {
        fetched = &mut fetching => fetched,
        written = writing => match written.context("the writer crashed")? {
            // It ends with the shutdown, and so does the fetcher, which knows what the ledger says.
            Ok(()) => fetching.await,
            Err(error) => Err(error).context("the writer ended"),
        },
    }
}

/// The API in the background.
struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    async fn start(cli: &Cli, db: DatabaseConnection, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let metrics = metrics::install(shutdown)?;
        let api = jetline_api::bind(&cli.api, db, metrics, shutdown.clone()).await?;
        Ok(Self {
            address: api.address(),
            task: shutdown.tasks.spawn(api.serve()),
        })
    }
}
