//! `cargo xtask chaos`: the fault campaign, long outages and the soak, on programs built anew.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, ensure};

use crate::{cargo, install};

/// Break a running pipeline in every way, and compare what comes out with an oracle.
///
/// Finds or installs the servers as `cargo xtask test` does, builds the programs, and hands everything else to
/// `jetline-chaos`: without a subcommand a campaign of random runs, or `outage`, `soak` and `report`; `cargo xtask chaos
/// -- --help` shows their flags.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Use optimised programs
    #[arg(long)]
    release: bool,

    /// What `jetline-chaos` takes, such as `--runs 100 --seed 7`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    chaos: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    install::missing_servers()?;
    let mut build = cargo::command();
    build.args(["build", "--workspace", "--bins", "--locked"]);
    if arguments.release {
        build.arg("--release");
    }
    ensure!(
        build.status().context("cannot run cargo")?.success(),
        "the programs cannot be built"
    );
    let profile = if arguments.release {
        "release"
    } else {
        "debug"
    };
    let programs = cargo::target_directory()?.join(profile);
    chaos(&programs, &arguments.chaos)
}

/// Runs it in this process's place in the terminal: Ctrl-C reaches it, and ends what it has started.
fn chaos(programs: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let status = Command::new(programs.join("jetline-chaos"))
        .args(arguments)
        .status()
        .context("cannot run jetline-chaos")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
