//! Runs a command; or loads, and serves the records unless `--exit` is given.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context;
use jetline_api::{Actions, Changes, IntakeParts, ObjectsWakeup};
use jetline_fetcher::{CheckSettings, InferSettings, Report};
use jetline_queue::Subject;
use jetline_runtime::{Shutdown, metrics, output};
use jetline_store::Database;
use tokio::task::JoinHandle;

use crate::{
    cli::{Cli, Command, SAMPLES},
    deliveries::Deliveries,
    files,
    parts::{self, Parts},
    replayer::Replayer,
    sources::{sources, sources_of},
    terminal,
};

/// Runs the command, or loads and serves.
pub(crate) async fn run(cli: Cli, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    cli.output.apply();
    match &cli.command {
        None => parts::check(&cli)?,
        Some(Command::Check(args)) => return shutdown.started(check(&cli, args)).await,
        Some(Command::Infer(args)) => return shutdown.started(infer(&cli, args)).await,
        Some(Command::Fetcher(jetline_fetcher::Command::Ledger(command))) => {
            return command.run(&cli.database, &cli.startup, &shutdown).await;
        }
        Some(Command::Fetcher(command)) => {
            // The declarations may have what is to be dropped, or was.
            let is_declared = !matches!(command, jetline_fetcher::Command::Drop(_));
            let work = async |database: &Database| {
                Box::pin(command.run(sources(&cli, database), database)).await
            };
            return change(&cli, &shutdown, is_declared, work).await;
        }
        Some(Command::Delivery(command)) => {
            return change(&cli, &shutdown, true, async |database| command.run(database).await)
                .await;
        }
        Some(Command::Keys(command)) => {
            return change(&cli, &shutdown, false, async |database| command.run(database).await)
                .await;
        }
    }
    let load = async |database| load(&cli, database, &shutdown).await;
    let complete = cli.database.with_database(&cli.startup, &shutdown, load).await?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a command that changes the database, in which datasets are declared before if that is wanted; prints what it returns.
async fn change(
    cli: &Cli,
    shutdown: &Shutdown,
    is_declared: bool,
    work: impl AsyncFnOnce(&Database) -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    let work = async |database: Database| {
        let running = async {
            if is_declared {
                parts::up_to_date(&database, &cli.datasets).await?;
            } else {
                parts::migrated(&database).await?;
            }
            work(&database).await
        };
        shutdown.started(running).await
    };
    output::print(cli.database.with_database(&cli.startup, shutdown, work).await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn check(cli: &Cli, args: &CheckSettings) -> anyhow::Result<ExitCode> {
    let declared = cli.datasets.read()?;
    let numbered = (1..).zip(&declared).map(|(declaration, file)| {
        let mut dataset = file.dataset.clone();
        dataset.declaration = declaration;
        dataset
    });
    let datasets = numbered.collect();
    let (settings, sources) = sources_of(cli, &args.files).await?;
    files::check(&args.files, &settings, &datasets)?;
    let checked = jetline_fetcher::check(args, &settings, &datasets, &sources).await?;
    output::print_result(&checked)?;
    Ok(if checked.is_valid() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn infer(cli: &Cli, args: &InferSettings) -> anyhow::Result<ExitCode> {
    let (settings, sources) = sources_of(cli, &args.files).await?;
    output::print_result(&jetline_fetcher::infer(args, &settings, &sources).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Loads, then serves; returns whether everything was committed.
async fn load(cli: &Cli, database: Database, shutdown: &Shutdown) -> anyhow::Result<bool> {
    let connecting = Parts::connect(cli, database.clone());
    let parts = shutdown.started(connecting).await?;
    let deliveries = Deliveries::start(cli, &database, &*parts.queue, shutdown).await?;
    let serving = if cli.exit { None } else { Some(Serving::start(cli, &parts, shutdown).await?) };
    let serving = match serving {
        Some(serving) if parts.fetcher.source.is_empty() && !cli.takes_records() => {
            output::print_note(format!(
                "Nothing is loaded: no file is given, and {SAMPLES} does not exist."
            ))?;
            terminal::print_urls(serving.address, &database).await;
            serving.task.await.context("the api crashed")?;
            return Ok(true);
        }
        serving => serving,
    };
    let writing = parts.spawn_writer(shutdown).await.context("start writer failed")?;
    if let (Some(serving), Some(_)) = (&serving, parts.fetcher.watch) {
        terminal::print_urls(serving.address, &database).await;
    }

    let report = fetch(parts, writing, shutdown).await?;
    let interrupted = shutdown.soft.is_cancelled();
    let printed = terminal::print_report(&report, interrupted);
    let Some(serving) = serving else {
        printed?;
        let complete = report.is_complete() && !interrupted;
        return Ok(deliveries.finish(cli.deliver_deadline, shutdown).await? && complete);
    };
    terminal::warn(printed);
    if !interrupted {
        terminal::print_urls(serving.address, &database).await;
    }
    serving.task.await.context("the api crashed")?;
    Ok(report.is_complete())
}

/// Fetches until everything is committed or the shutdown begins; an error if the writer fails.
async fn fetch(
    parts: Parts,
    writing: JoinHandle<Result<(), jetline_writer::Error>>,
    shutdown: &Shutdown,
) -> anyhow::Result<Report> {
    let fetching = jetline_fetcher::run(
        &parts.fetcher,
        parts.sources,
        parts.queue,
        &parts.database,
        rand::random(),
        shutdown,
    );
    tokio::pin!(fetching);
    tokio::select! {
        fetched = &mut fetching => fetched,
        written = writing => match written.context("the writer crashed")? {
            // It ended because of the shutdown; the fetcher ends too, with the report.
            Ok(()) => fetching.await,
            Err(error) => Err(error).context("the writer failed"),
        },
    }
}

/// The API in the background.
struct Serving {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    async fn start(cli: &Cli, parts: &Parts, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let metrics = metrics::install(shutdown)?;
        let wakeup = ObjectsWakeup::default();
        wakeup.set(parts.queue.wakeup(Subject::Objects));
        let database = &parts.database;
        let own = async { Ok(database.clone()) };
        let key = cli.redaction.redact_key.clone();
        let intake =
            IntakeParts::open(&cli.api, &cli.intake_store, &cli.s3, own, wakeup, key).await?;
        let actions = cli.api.has_users().then(|| Actions {
            database: database.clone(),
            // Without, nothing would read them until the next start.
            replay: parts.fetcher.watch.map(|_| Replayer::shared(cli, parts)),
        });
        let changes = Changes { intake, actions };
        let api = jetline_api::bind(&cli.api, database, changes, metrics, shutdown.clone()).await?;
        Ok(Self { address: api.address(), task: shutdown.tasks.spawn(api.serve()) })
    }
}
