//! Settings on either side of a command: clap takes those of the program only before it.

use std::ffi::OsString;

use clap::{Arg, Command};

/// The arguments, with the program's settings that follow a command before it.
pub(super) fn settings_first(
    arguments: impl Iterator<Item = OsString>,
    program: &Command,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let Some((word, command)) = find_command(&arguments, program) else { return arguments };
    let mut moved = Vec::new();
    let mut place = word + 1;
    while let Some(argument) = arguments.get(place).filter(|argument| *argument != "--") {
        let is_of_command = knows(command, argument);
        let width = flag(program, argument)
            .filter(|_| !is_of_command)
            .map(|flag| if takes_next(flag, argument) { 2 } else { 1 });
        match width {
            // Before the command, a flag whose value is missing would take the command for it.
            Some(width) if place + width <= arguments.len() => {
                moved.extend(arguments.drain(place..place + width));
            }
            _ => place += 1,
        }
    }
    arguments.splice(word..word, moved);
    arguments
}

/// The place of the command's word, and the command.
fn find_command<'a>(arguments: &[OsString], program: &'a Command) -> Option<(usize, &'a Command)> {
    let mut place = 1;
    loop {
        let argument = arguments.get(place)?;
        if let Some(command) = program.find_subcommand(argument) {
            return Some((place, command));
        }
        let flag = flag(program, argument);
        let is_flag = argument.to_str().is_some_and(|text| text.starts_with('-'));
        if argument == "--" || !is_flag {
            return None;
        }
        place += if flag.is_some_and(|flag| takes_next(flag, argument)) { 2 } else { 1 };
    }
}

/// Whether a command, or one below it, has the flag itself.
fn knows(command: &Command, argument: &OsString) -> bool {
    flag(command, argument).is_some()
        || command.get_subcommands().any(|below| knows(below, argument))
}

/// The flag of an argument such as `--source` or `--source=in`.
fn flag<'a>(command: &'a Command, argument: &OsString) -> Option<&'a Arg> {
    let name = argument.to_str()?.strip_prefix("--")?;
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    command.get_arguments().find(|known| known.get_long() == Some(name))
}

/// Whether the argument after a flag is its value.
fn takes_next(flag: &Arg, argument: &OsString) -> bool {
    let needs_value = flag.get_action().takes_values()
        && flag.get_num_args().is_none_or(|number| number.min_values() > 0);
    needs_value && !argument.to_str().is_some_and(|text| text.contains('='))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[arg(long)]
        source: Option<String>,
        #[arg(long)]
        watch: bool,
        #[arg(long, num_args = 0..=1, require_equals = true)]
        keys: Option<String>,
        #[command(subcommand)]
        command: Option<Sub>,
    }

    #[derive(clap::Subcommand)]
    enum Sub {
        Replay {
            #[arg(long)]
            object: u32,
        },
        Status {
            #[arg(long)]
            watch: bool,
        },
    }

    fn ordered(arguments: &str) -> String {
        let arguments = std::iter::once("test").chain(arguments.split(' ')).map(OsString::from);
        let command = Cli::command();
        let ordered = settings_first(arguments, &command);
        let ordered: Vec<_> = ordered[1..].iter().map(|one| one.to_str().unwrap()).collect();
        ordered.join(" ")
    }

    #[test]
    fn settings_of_the_program_are_moved_before_the_command() {
        for (given, expected) in [
            ("replay --object 7 --source in", "--source in replay --object 7"),
            ("replay --source=in --object 7 --watch", "--source=in --watch replay --object 7"),
            (
                "--source replay replay --keys --object 7",
                "--source replay --keys replay --object 7",
            ),
            // What the command has itself stays, and so does what is no setting.
            ("status --watch --source in", "--source in status --watch"),
            ("replay --object 7 -- --source in", "replay --object 7 -- --source in"),
            ("replay --nothing in --source", "replay --nothing in --source"),
            ("file replay --source in", "file replay --source in"),
            ("--source in", "--source in"),
        ] {
            assert_eq!(ordered(given), expected, "{given}");
        }
    }
}
