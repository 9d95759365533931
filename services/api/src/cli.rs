//! The command line of the API.

use std::{
    io::{read_to_string, stdin},
    process::ExitCode,
    sync::Arc,
};

use clap::{Parser, Subcommand};
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    LifecycleSettings, Shutdown, StartupSettings, TelemetrySettings, healthcheck, metrics, output,
    settings,
};
use jetline_source::{IntakeStore, S3Config};
use jetline_store::RedactionSettings;

use crate::{
    Actions, ApiSettings, Changes, DatabaseSettings, IntakeParts, ObjectsWakeup, RequestedReplay,
    auth::{KeyCommand, RightsArgs, hash_password},
    run,
};

/// What `--help` begins with.
const HELP: &str = "\
Examples:
  jetline-api --database-url postgres://user:password@db/name --listen 0.0.0.0:8080
  echo 'the password' | jetline-api hash-password ann --role admin >> users
  jetline-api keys create shop --of orders

The most common settings, each a flag and a variable:
  DATABASE_URL  postgres://user:password@host/name
  LISTEN        the address of the API and the page
  USERS_FILE    users and their passwords
  API_KEYS      accept API keys
  INTAKE_STORE  where posted records are written, s3://bucket/prefix/
";

/// Serves every record by id, and the state of every object and rejected line.
#[derive(Parser)]
#[command(version, before_help = HELP)]
pub struct Cli {
    /// The command, if it is not to serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The API.
    #[command(flatten)]
    pub api: ApiSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    intake_store: IntakeStore,
    #[command(flatten)]
    redaction: RedactionSettings,
    #[command(flatten)]
    s3: S3Config,
    #[command(flatten)]
    queue: JetStreamConfig,
    #[command(flatten)]
    startup: StartupSettings,
    /// The shutdown.
    #[command(flatten)]
    pub lifecycle: LifecycleSettings,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

/// The commands of the API.
#[derive(Subcommand)]
pub enum Command {
    /// Ask the service that runs with the same settings whether it is ready; exit status 0 if it is
    Healthcheck,
    /// Reads a password from standard input and prints the user's line for the file of users.
    HashPassword {
        /// The user's name.
        name: String,
        #[command(flatten)]
        rights: RightsArgs,
    },
    /// Create, revoke or list the API keys with which programs authenticate, where `API_KEYS` is true
    #[command(subcommand)]
    Keys(KeyCommand),
}

impl Cli {
    /// Serves until the shutdown.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
        settings::check([self.database.url().map(drop), self.api.check()])?;
        let metrics = metrics::install(&shutdown)?;
        let wakeup = ObjectsWakeup::default();
        // An api that only reads from a replica has no actions.
        let changes_something = self.api.has_users() && self.database.database_url.is_some();
        let actions = if changes_something {
            let database = self.database.open_for_writing(&self.api).await?;
            let timeout = self.api.request_timeout * 9 / 10;
            let replay = RequestedReplay { database: database.clone(), timeout };
            Some(Actions { database, replay: Some(Arc::new(replay)) })
        } else {
            None
        };
        let database = async {
            match &actions {
                Some(actions) => Ok(actions.database.clone()),
                None => self.database.open_for_writing(&self.api).await,
            }
        };
        let intake = IntakeParts::open(
            &self.api,
            &self.intake_store,
            &self.s3,
            database,
            wakeup.clone(),
            self.redaction.redact_key.clone(),
        );
        let intake = Box::pin(intake).await?;
        let is_notifying = intake.is_some() && self.queue.nats_url.is_some();
        let changes = Changes { intake, actions };
        let running = Box::pin(run(&self.api, &self.database, changes, metrics, shutdown));
        if is_notifying {
            // Beside the requests, which are served without the queue.
            tokio::select! {
                ran = running => ran?,
                never = Box::pin(wakeup.connect(&self.queue, &self.startup)) => match never {},
            }
        } else {
            running.await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Command {
    /// Runs the command.
    pub async fn run(&self, cli: &Cli) -> anyhow::Result<ExitCode> {
        match self {
            Self::Healthcheck => return healthcheck(cli.api.listen).await,
            Self::HashPassword { name, rights } => print_hash(name, rights)?,
            Self::Keys(command) => {
                let database = cli.database.connect().await?;
                let done = command.run(&database).await;
                database.close().await;
                output::print(done?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_hash(name: &str, rights: &RightsArgs) -> anyhow::Result<()> {
    let password = read_to_string(stdin())?;
    let password = password.trim_end_matches(['\r', '\n']);
    let line = hash_password(name, password, &rights.rights()?, &mut rand::rng())?;
    output::print(line)
}
