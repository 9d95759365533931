//! `jetline-api`: serves records by id, and the state of every object and rejected line.

use std::io::{read_to_string, stdin};

use clap::{Parser, Subcommand};
use jetline_api::{ApiSettings, DatabaseSettings, auth::hash_password, run};
use jetline_runtime::{
    LifecycleSettings, Shutdown, TelemetrySettings, healthcheck, metrics, output, settings,
    telemetry,
};

/// Serves every record by id, and the state of every object and rejected line.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    api: ApiSettings,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    lifecycle: LifecycleSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the service that runs with the same settings whether it is ready; exit status 0 if it is
    Healthcheck,
    /// Reads a password from standard input and prints the user's line for the file of users.
    HashPassword {
        /// The user's name.
        name: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli: Cli = settings::parse();
    match cli.command {
        None => {}
        Some(Command::Healthcheck) => return healthcheck(cli.api.listen).await,
        Some(Command::HashPassword { name }) => return print_hash(&name),
    }
    let _telemetry = telemetry::init(&cli.telemetry, env!("CARGO_BIN_NAME"))?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;
    run(&cli.api, &cli.database, metrics, shutdown).await
}

fn print_hash(name: &str) -> anyhow::Result<()> {
    let password = read_to_string(stdin())?;
    let password = password.trim_end_matches(['\r', '\n']);
    let line = hash_password(name, password, &mut rand::rng())?;
    output::print(line)
}
