//! The command line of the API.

use std::{
    io::{read_to_string, stdin},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use jetline_runtime::{
    LifecycleSettings, Shutdown, TelemetrySettings, healthcheck, metrics, output,
};

use crate::{
    ApiSettings, DatabaseSettings,
    auth::{KeyCommand, RightsArgs, hash_password},
    run,
};

/// Serves every record by id, and the state of every object and rejected line.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    /// The command, if it is not to serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The API.
    #[command(flatten)]
    pub api: ApiSettings,
    #[command(flatten)]
    database: DatabaseSettings,
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
        let metrics = metrics::install(&shutdown)?;
        run(&self.api, &self.database, metrics, shutdown).await.map(|()| ExitCode::SUCCESS)
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
