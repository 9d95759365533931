//! `jetline-api`: serves records by id, and what became of every object and line.

use std::io::{Write, read_to_string, stdin, stdout};

use clap::{Parser, Subcommand};
use jetline_api::{ApiSettings, DatabaseSettings, auth::hash_password, run};
use jetline_runtime::{LifecycleSettings, Shutdown, TelemetrySettings, metrics, telemetry};

/// Serves every record by id, and what became of every object and line.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
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
    /// Reads a password from standard input and prints the user's line for the file of users.
    HashPassword {
        /// The user's name.
        name: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::HashPassword { name }) = cli.command {
        let password = read_to_string(stdin())?;
        let password = password.trim_end_matches(['\r', '\n']);
        let line = hash_password(&name, password, &mut rand::rng())?;
        return Ok(writeln!(stdout(), "{line}")?);
    }
    telemetry::init(&cli.telemetry)?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;
    run(&cli.api, &cli.database, metrics, shutdown).await
}
