//! `jetline`: fetcher, writer, courier and API in one process, with embedded parts or with the servers whose addresses are set.

mod cli;
mod deliveries;
mod files;
mod load;
mod parts;
mod replayer;
mod sources;
mod terminal;

use jetline_runtime::{healthcheck, service};

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    let cli = cli::Cli::from_args();
    if cli.is_healthcheck() {
        return healthcheck(cli.api.listen).await;
    }
    let (telemetry, lifecycle) = (cli.telemetry.clone(), cli.lifecycle.clone());
    let run = |shutdown| load::run(cli, shutdown);
    service::run(env!("CARGO_BIN_NAME"), &telemetry, &lifecycle, run).await
}
