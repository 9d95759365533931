//! Types and parsers of settings.
//!
//! A URL with a password is a [`SecretUrl`]. clap would print its environment variable in `--help`: declare such settings
//! with `hide_env_values = true`. [`parse`] removes passwords from clap's errors.

mod invalid;
mod order;
mod pages;
mod refusal;
mod secret_url;

use std::{
    env,
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches, builder::Resettable};
pub use invalid::{Invalid, check};
pub use secret_url::{SecretUrl, redacted};

/// Parses flags and environment variables; exits the process if they are invalid.
#[must_use]
pub fn parse<Cli: CommandFactory + FromArgMatches>() -> Cli {
    parse_with(Cli::command(), Cli::from_arg_matches)
}

/// Like [`parse`], with `command`, and with `read`, which reads what was parsed.
pub fn parse_with<Cli>(
    command: Command,
    read: impl FnOnce(&ArgMatches) -> Result<Cli, clap::Error>,
) -> Cli {
    // What only prints pages does not depend on them.
    let prints_pages = env::args_os().any(|argument| pages::is_asked_for(&argument));
    let is_unset =
        |name: &_| prints_pages || env::var_os(name).is_some_and(|value| value.is_empty());
    let documented = pages::add_to(command);
    let mut command = without_variables(documented.clone(), is_unset);
    // Parsing changes it.
    let unparsed = command.clone();
    let arguments = order::settings_first(env::args_os(), &command);
    let parsed = command.try_get_matches_from_mut(&arguments);
    if let Ok(matches) = &parsed {
        pages::print(documented, matches);
    }
    let parsed = parsed.and_then(|matches| read(&matches));
    parsed.unwrap_or_else(|error| {
        refusal::print_others(&error, &unparsed, &arguments);
        refusal::without_secrets(error, &mut command).exit()
    })
}

/// An empty variable counts as unset: `NAME=${NAME:-}` in a compose file means that.
fn without_variables(command: Command, is_empty: impl Fn(&OsStr) -> bool) -> Command {
    command.mut_args(|arg: Arg| match arg.get_env() {
        Some(name) if is_empty(name) => arg.env(Resettable::Reset),
        _ => arg,
    })
}

/// The value of a required setting.
pub fn required<T>(value: Option<T>, variable: &str, purpose: &str) -> anyhow::Result<T> {
    let missing = || Invalid::new(format!("{variable} is not set: it names {purpose}"));
    value.ok_or_else(|| missing().into())
}

/// Parses a duration such as `250ms`, `30s` or `2m 30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; a duration is written as 250ms, 30s or 2m"))
}

/// Parses a duration above zero.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("it must be above 0".to_owned()) } else { Ok(duration) }
}

/// Parses a number of bytes such as `512`, `256KiB` or `1GiB`; KB, MB and GB are powers of 1,000.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic() || unit == ' ');
    let unit = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        unit => {
            return Err(format!("{unit:?} is not a unit: B, KiB, MiB, GiB, KB, MB or GB"));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a size is a whole number and a unit, as in 256KiB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "the size does not fit 64 bits".to_owned())
}

/// Parses an address to listen on: `127.0.0.1:8080`; a port alone, or with `localhost`, is one of 127.0.0.1.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        "is no address: write 127.0.0.1:8080 or 8080 for this machine alone, 0.0.0.0:8080 for all interfaces".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn empty_variable_is_unset() {
        #[derive(Parser)]
        struct Cli {
            /// Every test process has this variable, and it is not a number.
            #[arg(long, env = "PATH", default_value = "7")]
            number: u32,
        }
        let number = |command: Command| {
            let matches = command.try_get_matches_from(["test"]);
            matches.and_then(|matches| Ok(Cli::from_arg_matches(&matches)?.number))
        };
        assert!(number(without_variables(Cli::command(), |_| false)).is_err());
        let ignored = without_variables(Cli::command(), |name| name == "PATH");
        assert_eq!(number(ignored).unwrap(), 7);
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("256KiB"), Ok(256 * 1024));
        assert_eq!(bytes("1 gib"), Ok(1 << 30));
        assert_eq!(bytes("5MB"), Ok(5_000_000));
    }

    #[test]
    fn invalid_sizes_are_refused() {
        for text in ["", "KiB", "1.5MiB", "-1", "1 parsec", "99999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn address_may_be_a_port() {
        for (text, shown) in [
            ("8080", "127.0.0.1:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), shown);
        }
        for text in ["", ":8080", "example.com:8080", "127.0.0.1", "80800", "localhost"] {
            assert!(address(text).unwrap_err().contains("0.0.0.0:8080"), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("10").unwrap_err().contains("30s"));
    }
}
