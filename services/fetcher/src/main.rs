//! `jetline-fetcher`: reads what is new in its sources and publishes it.

use std::process::ExitCode;

use jetline_fetcher::Cli;
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
