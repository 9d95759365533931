//! `cargo xtask chaos`: the fault campaign, long outages and the soak, on programs that it builds.

use std::process::Command;

use jetline_testkit::programs;

use crate::{command::succeed, install};

/// Inject faults into a running pipeline, and compare the result with an oracle.
///
/// Finds or installs the servers as `cargo xtask test` does, builds the programs, and hands everything else to
/// `jetline-chaos`: without a subcommand a campaign of random runs, or `outage` and `soak`; `cargo xtask chaos
/// -- --help` shows their flags.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Use optimised programs
    #[arg(long)]
    release: bool,

    /// What `jetline-chaos` takes, such as `--runs 100 --seed 7`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    chaos: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    install::missing_servers()?;
    let programs = programs::build(arguments.release)?;
    // In this process's group: Ctrl-C reaches it, and it stops what it has started.
    succeed(Command::new(programs.join("jetline-chaos")).args(&arguments.chaos))
}
