//! The command line of `jetline`: the settings of all services, with defaults for the required ones.

use clap::{CommandFactory, Parser, Subcommand};
use jetline_api::ApiSettings;
use jetline_dedup::DedupSettings;
use jetline_fetcher::{CheckSettings, FetcherSettings, InferSettings};
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    HealthCommand, LifecycleSettings, StartupSettings, TelemetrySettings, settings,
};
use jetline_source::S3Config;
use jetline_store::{DatabaseSettings, DatasetSettings};
use jetline_writer::WriterSettings;

/// Loads JSON Lines, JSON and CSV files into a database, and serves every record by id.
///
/// Without settings it loads ./samples into the SQLite database ./jetline.db and serves it on http://127.0.0.1:8080.
/// Embedded parts are replaced by servers whose addresses are given: s3:// sources, NATS_URL, REDIS_URL, DATABASE_URL.
/// When it is started again, it reads only what is new.
#[derive(Parser)]
#[command(name = "jetline", version)]
#[expect(clippy::doc_markdown, reason = "it is the text of --help")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Exit when everything is loaded, without serving; the exit status is 0 only if everything was committed
    #[arg(long, conflicts_with = "watch")]
    pub(crate) exit: bool,

    #[command(flatten)]
    pub(crate) fetcher: FetcherSettings,
    #[command(flatten)]
    pub(crate) datasets: DatasetSettings,
    #[command(flatten)]
    pub(crate) s3: S3Config,
    #[command(flatten)]
    pub(crate) queue: JetStreamConfig,
    #[command(flatten)]
    pub(crate) writer: WriterSettings,
    #[command(flatten)]
    pub(crate) dedup: DedupSettings,
    #[command(flatten)]
    pub(crate) database: DatabaseSettings,
    #[command(flatten)]
    pub(crate) api: ApiSettings,
    #[command(flatten)]
    pub(crate) startup: StartupSettings,
    #[command(flatten)]
    pub(crate) lifecycle: LifecycleSettings,
    #[command(flatten)]
    pub(crate) telemetry: TelemetrySettings,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Fetcher(jetline_fetcher::Command),
    /// Parse and validate all records of files, and write nothing; the exit status is 0 only if all are valid
    Check(CheckSettings),
    /// Propose a declaration from the first records of files: `jetline infer orders.csv > datasets/orders.toml`
    Infer(InferSettings),
}

impl Cli {
    /// Parses flags and environment; exits the process if they are invalid.
    pub(crate) fn from_args() -> Self {
        let command = Self::command()
            .mut_arg("source", |source| source.default_value("./samples"))
            .mut_arg("database_url", |url| url.default_value("sqlite://jetline.db"))
            // The terminal shows the summary and the progress bars.
            .mut_arg("log", |log| log.default_value("warn"));
        settings::parse_as(command)
    }

    /// Whether the running process is to be checked.
    pub(crate) fn is_healthcheck(&self) -> bool {
        use jetline_fetcher::Command::Health;
        let command = self.command.as_ref();
        matches!(command, Some(Command::Fetcher(Health(HealthCommand::Healthcheck))))
    }
}
