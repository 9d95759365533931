//! Completions for shells and manual pages, made from the command line.

use std::{ffi::OsStr, path::PathBuf, process::exit};

use anyhow::Context;
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use crate::output;

/// Whether an argument asks for one of them.
pub(super) fn is_asked_for(argument: &OsStr) -> bool {
    let flag = argument.to_str().map(|text| text.split('=').next().unwrap_or_default());
    matches!(flag, Some("--completions" | "--manual-pages"))
}

/// Adds the flags that print them instead of running the program.
pub(super) fn add_to(command: Command) -> Command {
    let completions = Arg::new("completions")
        .long("completions")
        .value_name("SHELL")
        .value_parser(value_parser!(Shell))
        .exclusive(true)
        .help("Print completions for a shell: `source <(jetline --completions bash)`");
    let pages = Arg::new("manual_pages")
        .long("manual-pages")
        .value_name("DIRECTORY")
        .value_parser(value_parser!(PathBuf))
        .exclusive(true)
        .hide(true);
    command.args([completions, pages].map(|arg| arg.help_heading("Help")))
}

/// Prints what is asked for, and exits.
#[expect(clippy::print_stderr, reason = "the program has not begun to log")]
pub(super) fn print(mut command: Command, matches: &ArgMatches) {
    let name = command.get_name().to_owned();
    if let Some(shell) = matches.get_one::<Shell>("completions") {
        let mut completions = Vec::new();
        clap_complete::generate(*shell, &mut command, name, &mut completions);
        // A closed pipe is not an error.
        let printed = output::print(String::from_utf8_lossy(&completions).trim_end());
        exit(i32::from(printed.is_err()));
    }
    if let Some(directory) = matches.get_one::<PathBuf>("manual_pages") {
        let made = clap_mangen::generate_to(without_help(command), directory);
        if let Err(error) = made.with_context(|| format!("cannot write to {}", directory.display()))
        {
            eprintln!("error: {error:#}");
            exit(1);
        }
        exit(0);
    }
}

/// The command without `help`, which has no page of its own, and so all below it.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}
