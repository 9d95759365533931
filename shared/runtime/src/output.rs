//! Standard output.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use anyhow::Context;

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
