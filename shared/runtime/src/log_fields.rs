//! The values of fields of the log: errors with their causes, and times.

use std::{
    error::Error,
    fmt::{self, Display, Formatter},
    iter::successors,
    time::Duration,
};

use tracing::field::{DisplayValue, display};

/// An error with all of its causes on one line, as the value of a field of the log.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> DisplayValue<Causes<'a>> {
    display(Causes(error))
}

/// Displays an error and its causes, separated by colons.
#[derive(Clone, Copy, Debug)]
pub struct Causes<'a>(&'a (dyn Error + 'static));

impl Display for Causes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        for cause in successors(self.0.source(), |error| (*error).source()) {
            let text = cause.to_string();
            // Many errors repeat the text of their cause.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
        }
        Ok(())
    }
}

/// A time as the value of a field whose name ends in `_ms`.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_shown_once() {
        let error = anyhow::anyhow!("refused").context("connect: refused").context("cannot start");
        assert_eq!(Causes(&*error).to_string(), "cannot start: connect: refused");
    }
}
