//! The command line of `jetline`: the settings of all services, with defaults for the required ones.

use std::{path::Path, time::Duration};

use clap::{
    ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind,
    parser::ValueSource,
};
use jetline_api::{ApiSettings, IntakeMode, auth::KeyCommand};
use jetline_courier::CourierSettings;
use jetline_datasets::is_name;
use jetline_dedup::DedupSettings;
use jetline_fetcher::{CheckSettings, FetcherSettings, InferSettings};
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    HealthCommand, LifecycleSettings, StartupSettings, TelemetrySettings, output::OutputSettings,
    settings,
};
use jetline_source::{IntakeStore, InvalidLocation, Location, Locations, S3Config};
use jetline_store::{
    DatabaseSettings, DatasetSettings, RedactionSettings, is_directory_of_declarations,
};
use jetline_writer::WriterSettings;

/// The default of DATASETS, if it has declarations.
pub(crate) const DECLARATIONS: &str = "datasets";

/// The default of SOURCE.
pub(crate) const SAMPLES: &str = "./samples";

/// The default of `INTAKE_STORE`, with `INTAKE=open` or where it exists.
const INTAKE: &str = "./intake";

/// The default of `WATCH`, where records can be posted.
const WATCH: Duration = Duration::from_secs(10);

/// What `--help` begins with.
const HELP: &str = "\
Examples:
  jetline orders.csv --infer                        load a file, with columns as its records have them
  jetline 'in/*.jsonl.gz' --exit                    load files and exit with a summary
  jetline --source s3://bucket/orders/ --watch 30s  load what is in a bucket, and what comes
  jetline check in/orders.csv                       validate a file, write nothing
  jetline status                                    show what was loaded

The most common settings, each a flag and a variable:
  SOURCE        what to load: files, directories, s3://bucket/prefix
  DATASETS      the declarations of datasets
  DATABASE_URL  postgres://user:password@host/name instead of ./jetline.db
  WATCH         list the sources again at this interval
  LISTEN        the address of the API and the page
";

/// Loads JSON Lines, JSON and CSV files into a database, and serves every record by id.
///
/// Without settings it loads ./samples, unless the declarations have sources, into the SQLite database ./jetline.db and serves it on http://127.0.0.1:8080.
/// The declarations of datasets are those in ./datasets, if it has any.
/// Embedded parts are replaced by servers whose addresses are given: s3:// sources, NATS_URL, REDIS_URL, DATABASE_URL.
/// When it is started again, it reads only what is new.
#[derive(Parser)]
#[command(name = "jetline", version, before_help = HELP)]
#[expect(clippy::doc_markdown, reason = "it is the text of --help")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// What to load, instead of SOURCE: files, directories or `s3://bucket/prefix`, optionally with wildcards, and
    /// optionally preceded by the dataset, as in `orders=in/2026.jsonl`. Without it, the dataset is DATASET, or the one
    /// that is called like the file
    #[arg(value_name = "[DATASET=]FILE", value_parser = file)]
    pub(crate) files: Vec<Location>,

    /// Whether the sources are the default.
    #[arg(skip)]
    pub(crate) has_default_source: bool,

    /// Propose declarations for files whose datasets are not declared, and load the files by them: for a first look
    #[arg(long, requires = "files")]
    pub(crate) infer: bool,

    /// Exit when everything is loaded and delivered, without serving; the exit status is 0 only if everything was committed
    /// and acknowledged
    #[arg(long, conflicts_with = "watch")]
    pub(crate) exit: bool,

    /// How long --exit waits for deliveries after everything is loaded
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "10m")]
    pub(crate) deliver_deadline: Duration,

    #[command(flatten)]
    pub(crate) output: OutputSettings,
    #[command(flatten)]
    pub(crate) fetcher: FetcherSettings,
    #[command(flatten)]
    pub(crate) datasets: DatasetSettings,
    #[command(flatten)]
    pub(crate) redaction: RedactionSettings,
    #[command(flatten)]
    pub(crate) intake_store: IntakeStore,
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
    pub(crate) courier: CourierSettings,
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
    #[command(flatten)]
    Delivery(jetline_courier::DeliveryCommand),
    /// Create, revoke or list the API keys with which programs authenticate, where `API_KEYS` is true
    #[command(subcommand)]
    Keys(KeyCommand),
    /// Parse and validate all records of files, and write nothing; the exit status is 0 only if all are valid
    Check(CheckSettings),
    /// Propose a declaration from the first records of files: `jetline infer orders.csv > datasets/orders.toml`
    Infer(InferSettings),
}

impl Cli {
    /// Parses flags and environment; exits the process if they are invalid.
    pub(crate) fn from_args() -> Self {
        let command = Self::command()
            .mut_arg("source", |source| source.default_value(SAMPLES))
            .mut_arg("database_url", |url| url.default_value("sqlite://jetline.db"))
            .mut_arg("redact_files", |files| files.requires_if("true", "redact_key"))
            // The terminal shows the summary and the progress bars.
            .mut_arg("log", |log| log.default_value("warn"))
            .mut_arg("datasets", |datasets| {
                let is_default = is_directory_of_declarations(Path::new(DECLARATIONS));
                if is_default { datasets.default_value(DECLARATIONS) } else { datasets }
            });
        settings::parse_with(command, Self::read)
    }

    /// Reads the settings. Files replace the default and the variable of the sources, but not the flag.
    fn read(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let is_open = cli.api.intake.intake == IntakeMode::Open && cli.serves();
        // What was posted before is loaded, whatever is done now.
        if cli.intake_store.intake_store.is_none() && (is_open || Path::new(INTAKE).is_dir()) {
            cli.intake_store.intake_store = INTAKE.parse().ok();
        }
        if cli.takes_records() {
            // What is posted is loaded as long as the process runs.
            cli.fetcher.watch.get_or_insert(WATCH);
        }
        let given = matches.value_source("source");
        if cli.files.is_empty() {
            cli.has_default_source = given == Some(ValueSource::DefaultValue);
            return Ok(cli);
        }
        if given == Some(ValueSource::CommandLine) {
            let reason = "files cannot be used with --source: give all of them in one way";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, reason));
        }
        cli.fetcher.source = cli.files.iter().cloned().map(Locations::from).collect();
        Ok(cli)
    }

    /// Whether records can be posted.
    pub(crate) fn takes_records(&self) -> bool {
        self.intake_store.intake_store.is_some() && self.api.takes_records() && self.serves()
    }

    fn serves(&self) -> bool {
        !self.exit && self.command.is_none()
    }

    /// Whether the running process is to be checked.
    pub(crate) fn is_healthcheck(&self) -> bool {
        use jetline_fetcher::Command::Health;
        let command = self.command.as_ref();
        matches!(command, Some(Command::Fetcher(Health(HealthCommand::Healthcheck))))
    }
}

/// A file, which is not what was meant where a command follows files, or is mistyped.
fn file(text: &str) -> Result<Location, String> {
    if is_name(text) && !Path::new(text).exists() {
        return Err(
            "there is no such file, and no such command; --help names the commands".to_owned()
        );
    }
    if Command::has_subcommand(text) {
        return Err(format!(
            "it is a command, which cannot follow files: give its sources with --source, or write ./{text} for the file"
        ));
    }
    text.parse().map_err(|error: InvalidLocation| error.to_string())
}
