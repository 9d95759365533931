//! Removes passwords from clap's errors, which quote invalid values.

use std::{env, ffi::OsString};

use clap::{
    Command, Error,
    builder::ValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// The error, without a value that may contain a password.
pub(super) fn without_secrets(error: Error, command: &mut Command) -> Error {
    hidden(error, &given(command), command)
}

/// Prints the errors of further settings: clap stops at the first malformed one.
#[expect(clippy::print_stderr, reason = "clap prints its errors there")]
pub(super) fn print_others(first: &Error, command: &Command, arguments: &[OsString]) {
    for error in others(first, command, arguments) {
        // Its first lines; what follows is about help.
        let text = without_secrets(error, &mut command.clone()).to_string();
        eprintln!("{}\n", text.split("\n\n").next().unwrap_or_default());
    }
}

/// The errors that follow when the values of malformed settings are not looked at.
fn others(first: &Error, unparsed: &Command, arguments: &[OsString]) -> Vec<Error> {
    let (mut ignored, mut all) = (Vec::new(), Vec::new());
    let mut flag = flag_of(first);
    while let Some(name) = flag {
        ignored.push(name);
        let mut command = unparsed.clone().mut_args(|arg| {
            let is_ignored =
                arg.get_long().is_some_and(|long| ignored.iter().any(|one| one == long));
            if is_ignored { arg.value_parser(ValueParser::os_string()) } else { arg }
        });
        let Err(error) = command.try_get_matches_from_mut(arguments) else { break };
        // A flag whose value is missing is wrong again, however its value is parsed.
        flag = flag_of(&error).filter(|name| !ignored.contains(name));
        all.extend(flag.is_some().then_some(error));
    }
    all
}

/// The flag whose value is malformed, as in `chunk-bytes`.
fn flag_of(error: &Error) -> Option<String> {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return None;
    }
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => {
            let flag = arg.strip_prefix("--")?;
            Some(flag.split([' ', '=', '[']).next()?.to_owned())
        }
        _ => None,
    }
}

/// All arguments and variables that may be a URL with a password.
fn given(command: &Command) -> Vec<String> {
    let variables = command.get_arguments().filter_map(|arg| arg.get_env());
    let variables = variables.filter_map(env::var_os);
    let values = env::args_os().skip(1).chain(variables);
    values
        .flat_map(|value| parts(&value.to_string_lossy()))
        .filter(|value| value.contains('@'))
        .collect()
}

/// Splits a flag from its value: only the value is hidden.
fn parts(argument: &str) -> Vec<String> {
    match argument.split_once('=') {
        Some((flag, value)) if flag.starts_with('-') && !flag.contains('@') => {
            vec![value.to_owned()]
        }
        _ => vec![argument.to_owned()],
    }
}

fn hidden(error: Error, secrets: &[String], command: &mut Command) -> Error {
    let repeats_secret = |text: &str| secrets.iter().any(|secret| secret.contains(text));
    let values =
        [ContextKind::InvalidValue, ContextKind::InvalidArg, ContextKind::InvalidSubcommand];
    let shown = values.map(|kind| match error.get(kind) {
        Some(ContextValue::String(text)) if !text.is_empty() => Some(text.as_str()),
        _ => None,
    });
    if !shown.into_iter().flatten().any(repeats_secret) {
        return error;
    }
    let [_, argument, _] = shown;
    let place = argument.filter(|argument| !repeats_secret(argument));
    let message = match place {
        Some(place) => format!("the value of '{place}' is malformed"),
        None => "an argument is not known".to_owned(),
    };
    command.error(
        ErrorKind::ValueValidation,
        format!("{message}; it is not shown, because it may hold a password"),
    )
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[arg(long, value_delimiter = ',')]
        numbers: Vec<u32>,
        #[arg(long, value_parser = crate::settings::bytes)]
        bytes: Option<u64>,
        #[command(subcommand)]
        command: Option<Sub>,
    }

    #[derive(clap::Subcommand)]
    enum Sub {
        Check,
    }

    fn refusal(arguments: &[&str], secrets: &[&str]) -> String {
        let mut command = Cli::command();
        let arguments = [&["test"], arguments].concat();
        let error = command.try_get_matches_from_mut(arguments).unwrap_err();
        let secrets: Vec<String> = secrets.iter().map(|&text| text.to_owned()).collect();
        hidden(error, &secrets, &mut command).to_string()
    }

    #[test]
    fn value_that_may_hold_a_password_is_not_quoted() {
        for (flag, value) in [
            ("--numbers", "redis://ann:hunter2@host"),
            ("--numbers", "1,redis://ann:hunt,er2@host"),
            ("--bytes", "redis://ann:hunter2@host"),
        ] {
            assert_eq!(parts(&format!("{flag}={value}")), [value]);
            let error = refusal(&[flag, value], &[value]);
            assert!(error.contains(flag), "{error}");
            assert!(error.contains("may hold a password"), "{error}");
            assert!(!error.contains("hunt"), "{error}");
        }
        for arguments in [
            &["redis://ann:hunter2@host"][..],
            &["check", "redis://ann:hunter2@host"],
            &["--redis://ann:hunter2@host"],
            &["--redis://ann:hunter2@host?a=b"],
        ] {
            let secret = parts(arguments.last().unwrap());
            let error = refusal(arguments, &[&secret[0]]);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn every_malformed_setting_is_found_and_a_missing_value_ends_the_search() {
        let found = |arguments: &[&str]| {
            let arguments: Vec<OsString> =
                [&["test"], arguments].concat().into_iter().map(OsString::from).collect();
            let first = Cli::command().try_get_matches_from(&arguments).unwrap_err();
            let others = others(&first, &Cli::command(), &arguments);
            others.iter().filter_map(flag_of).collect::<Vec<_>>()
        };
        assert_eq!(found(&["--numbers", "x", "--bytes", "many"]), ["bytes"]);
        assert_eq!(found(&["--bytes", "many", "--numbers", "x"]), ["numbers"]);
        assert_eq!(found(&["--bytes", "many"]), [""; 0]);
        assert_eq!(found(&["--numbers", "1", "--bytes"]), [""; 0]);
    }

    #[test]
    fn other_values_are_quoted() {
        let error = refusal(&["--bytes", "many"], &["redis://ann:hunter2@host"]);
        assert!(error.contains("many"), "{error}");
    }
}
