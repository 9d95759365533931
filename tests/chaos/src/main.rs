//! Injects faults into a running pipeline and compares the database with the oracle.

#![expect(
    clippy::print_stdout,
    reason = "these are commands for a terminal, their output is their result"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod campaign;
#[cfg(target_os = "linux")]
mod endurance;
mod files;
mod kinds;
mod table;

/// Injects faults into a running pipeline and compares the database with the oracle.
#[derive(Parser)]
#[command(name = "cargo xtask chaos", bin_name = "cargo xtask chaos")]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    campaign: campaign::Campaign,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(target_os = "linux")]
    Outage(endurance::outage::Arguments),
    #[cfg(target_os = "linux")]
    Soak(endurance::soak::Arguments),
}

fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    match arguments.command {
        None => campaign::run(&arguments.campaign),
        #[cfg(target_os = "linux")]
        Some(Command::Outage(arguments)) => endurance::outage::run(&arguments),
        #[cfg(target_os = "linux")]
        Some(Command::Soak(arguments)) => endurance::soak::run(&arguments),
    }
}
