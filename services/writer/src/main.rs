//! `jetline-writer`: consumes chunks and commits them.

use std::sync::Arc;

use clap::Parser;
use jetline_queue::{JetStream, JetStreamConfig};
use jetline_runtime::{
    LifecycleSettings, ObserveSettings, Shutdown, StartupSettings, TelemetrySettings, metrics,
    observe, settings::required, telemetry,
};
use jetline_store::{DatabaseSettings, Ledger, connect, database::check_schema};
use jetline_writer::{DedupSettings, WriterSettings};

/// Consumes chunks of lines and commits them. Start as many as you like.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    writer: WriterSettings,
    #[command(flatten)]
    queue: JetStreamConfig,
    #[command(flatten)]
    dedup: DedupSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    startup: StartupSettings,
    #[command(flatten)]
    lifecycle: LifecycleSettings,
    #[command(flatten)]
    observe: ObserveSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    telemetry::init(&cli.telemetry)?;
    let nats = required(
        cli.queue.nats_url.clone(),
        "NATS_URL",
        "the queue to consume from",
    )?;
    let url = required(
        cli.database.database_url,
        "DATABASE_URL",
        "the database to write to",
    )?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;

    let dedup = cli.dedup.connect(&cli.startup).await?;
    let connections = cli.database.database_connections;
    let db = cli
        .startup
        .connect(
            "the database (DATABASE_URL)",
            jetline_store::Error::is_passing,
            || connect(&url, connections),
        )
        .await?;
    check_schema(&db).await?;
    let queue = cli
        .startup
        .connect(
            "the queue (NATS_URL)",
            jetline_queue::Error::is_passing,
            || JetStream::connect(&nats, &cli.queue),
        )
        .await?;
    if let Some(listen) = cli.observe.observe_listen {
        let ping = db.clone();
        let ready = move || {
            let db = ping.clone();
            async move { db.ping().await.map_err(|error| error.to_string()) }
        };
        tokio::spawn(observe::serve(listen, ready, metrics, shutdown.clone()));
    }

    let ledger = Ledger::new(db, chrono::Utc::now);
    jetline_writer::run(
        &cli.writer,
        Arc::new(queue),
        dedup,
        ledger,
        rand::random(),
        &shutdown,
    )
    .await?;
    tracing::info!("the writer ends, nothing is in flight");
    Ok(())
}
