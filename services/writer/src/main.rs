//! `jetline-writer`: consumes chunks and commits them.

use std::process::ExitCode;

use jetline_runtime::{service, settings};
use jetline_writer::Cli;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli: Cli = settings::parse();
    if cli.command.is_some() {
        return cli.observe.healthcheck().await;
    }
    let (telemetry, lifecycle) = (cli.telemetry.clone(), cli.lifecycle.clone());
    service::run(env!("CARGO_BIN_NAME"), &telemetry, &lifecycle, |shutdown| cli.run(shutdown)).await
}
