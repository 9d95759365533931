//! Settings that are missing, malformed or contradict each other.

use std::fmt;

/// What is wrong with settings. A program that ends with it has the exit status 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(Vec<String>);

impl Invalid {
    /// One thing that is wrong.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(vec![text.into()])
    }

    /// Everything that is wrong.
    pub(crate) fn errors(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for Invalid {}

/// Checks settings, and names all that is wrong with them at once.
pub fn check<const N: usize>(checks: [anyhow::Result<()>; N]) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for error in checks.into_iter().filter_map(Result::err) {
        match error.downcast::<Invalid>() {
            Ok(invalid) => all.extend(invalid.0),
            Err(other) => all.push(format!("{other:#}")),
        }
    }
    if all.is_empty() { Ok(()) } else { Err(Invalid(all).into()) }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn everything_that_is_wrong_is_named() {
        assert!(check([Ok(()), Ok(())]).is_ok());
        let first = || Err(Invalid::new("A is not set").into());
        let other = || Err(anyhow!("no host")).context("B is malformed");
        let error = check([first(), Ok(()), other()]).unwrap_err();
        assert_eq!(error.to_string(), "A is not set; B is malformed: no host");
        let nested = check([Err(error), first()]).unwrap_err();
        let invalid = nested.downcast_ref::<Invalid>().unwrap();
        assert_eq!(invalid.errors(), ["A is not set", "B is malformed: no host", "A is not set"]);
    }
}
