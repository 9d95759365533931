//! Errors with their causes, as logs show them.

use std::{
    error::Error,
    fmt::{self, Display, Formatter},
    iter::successors,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_shown_once() {
        let error = anyhow::anyhow!("refused").context("connect: refused").context("cannot start");
        assert_eq!(Causes(&*error).to_string(), "cannot start: connect: refused");
    }
}
