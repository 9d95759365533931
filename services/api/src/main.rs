//! `jetline-api`: serves records by id, and the state of every object and rejected line.

use std::process::ExitCode;

use jetline_api::Cli;
use jetline_runtime::{service, settings};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli: Cli = settings::parse();
    if let Some(command) = &cli.command {
        return command.run(&cli).await;
    }
    let (telemetry, lifecycle) = (cli.telemetry.clone(), cli.lifecycle.clone());
    service::run(env!("CARGO_BIN_NAME"), &telemetry, &lifecycle, |shutdown| cli.run(shutdown)).await
}
