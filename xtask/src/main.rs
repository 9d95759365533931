//! The developer's and CI's commands: `cargo xtask` lists them.

#![expect(
    clippy::print_stdout,
    reason = "these are commands for a terminal, their output is their result"
)]

use std::process::ExitCode;

use clap::Parser;

#[cfg(target_os = "linux")]
mod bench;
mod catalogue;
mod chaos;
mod check_deploy;
mod command;
mod dist;
mod generate;
mod install;
mod signals;
mod test;

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
enum Command {
    Test(test::Arguments),
    #[cfg(target_os = "linux")]
    Bench(bench::Arguments),
    Chaos(chaos::Arguments),
    Generate(generate::Arguments),
    Dist(dist::Arguments),
    /// Check variables in compose files and Kubernetes manifests, alert rules and dashboards.
    ///
    /// Asks each program for its `--help`, and uses promtool, which it installs where it can.
    CheckDeploy,
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Test(arguments) => test::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        #[cfg(target_os = "linux")]
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Generate(arguments) => generate::write(&arguments.content, &arguments.out),
        Command::CheckDeploy => check_deploy::run(),
    };
    if let Err(error) = done {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
