//! `jetline-courier`: delivers changes to their destinations.

use std::process::ExitCode;

use jetline_courier::Cli;
use jetline_runtime::{service, settings};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli: Cli = settings::parse();
    if cli.is_healthcheck() {
        return cli.observe.healthcheck().await;
    }
    let (telemetry, lifecycle) = (cli.telemetry.clone(), cli.lifecycle.clone());
    service::run(env!("CARGO_BIN_NAME"), &telemetry, &lifecycle, |shutdown| cli.run(shutdown)).await
}
