//! `jetline-migrate`: applies the missing migrations to the database.

mod cli;

use std::process::ExitCode;

use jetline_runtime::{service, settings};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli: cli::Cli = settings::parse();
    let (telemetry, lifecycle) = (cli.telemetry.clone(), cli.lifecycle.clone());
    service::run(env!("CARGO_BIN_NAME"), &telemetry, &lifecycle, |shutdown| cli.run(shutdown)).await
}
