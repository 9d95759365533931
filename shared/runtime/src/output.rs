//! Standard output: text for people, or JSON for programs.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

/// Whether results are printed as JSON. Of the process, as its standard output is.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// How results are printed.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputSettings {
    /// How the summary and the results of `status`, `rejects`, `check` and `infer` are printed: as text, or as JSON, one document in a
    /// line
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl OutputSettings {
    /// Applies them to the process.
    pub fn apply(self) {
        IS_JSON.store(self.output == Format::Json, Ordering::Relaxed);
    }
}

/// Whether results are printed as JSON.
#[must_use]
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Prints a result, as text or as JSON.
pub fn print_result(result: &(impl Display + Serialize)) -> anyhow::Result<()> {
    if is_json() { print_json(result).map(drop) } else { print(result) }
}

/// Prints a document of JSON in a line; returns whether somebody reads further ones.
pub fn print_json(document: &impl Serialize) -> anyhow::Result<bool> {
    print_part(serde_json::to_string(document).context("cannot write JSON")?)
}

/// Prints a line for people, which is no result.
pub fn print_note(text: impl Display) -> anyhow::Result<()> {
    if is_json() { Ok(()) } else { print(text) }
}

/// Prints a line. A closed pipe is not an error; a full disk is one.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    print_part(text).map(drop)
}

/// Like [`print()`], of something that has more lines; returns whether somebody reads them.
pub fn print_part(text: impl Display) -> anyhow::Result<bool> {
    write(&mut io::stdout().lock(), &format!("{text}\n"))
}

fn write(output: &mut impl Write, text: &str) -> anyhow::Result<bool> {
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_closed_pipe_is_not_an_error() {
        assert!(!write(&mut Broken(ErrorKind::BrokenPipe), "x").unwrap());
        let error = write(&mut Broken(ErrorKind::StorageFull), "x").unwrap_err();
        assert!(error.to_string().contains("standard output"), "{error}");
    }
}
