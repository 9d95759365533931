//! The developer's and CI's commands: `cargo xtask` lists them.

#![expect(
    clippy::print_stdout,
    reason = "these are commands for a terminal, their output is their result"
)]

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod bench;
mod cargo;
mod catalogue;
mod chaos;
mod deny;
mod deploy;
mod generate;
mod install;
mod lines;
mod rules;
mod samples;
mod servers;
mod signals;
mod test;

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Test(test::Arguments),
    Bench(bench::Arguments),
    Chaos(chaos::Arguments),
    Generate(generate::Arguments),
    Samples(samples::Arguments),
    Rules(rules::Arguments),
    CheckDeploy(deploy::Arguments),
    Deny(deny::Arguments),
}

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        None => Arguments::command().print_help()?,
        Some(Command::Test(arguments)) => return test::run(&arguments),
        Some(Command::Chaos(arguments)) => return chaos::run(&arguments),
        Some(Command::Bench(arguments)) => bench::run(&arguments)?,
        Some(Command::Generate(arguments)) => generate::run(&arguments)?,
        Some(Command::Samples(arguments)) => samples::run(&arguments)?,
        Some(Command::Rules(arguments)) => rules::run(&arguments)?,
        Some(Command::CheckDeploy(arguments)) => deploy::run(&arguments)?,
        Some(Command::Deny(arguments)) => deny::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
