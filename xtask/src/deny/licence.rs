//! Licences as SPDX writes them: `(MIT OR Apache-2.0) AND Unicode-3.0`.

use std::iter::Peekable;

/// Whether an expression can be met with licences that are allowed. The old form `MIT/Apache-2.0` offers both.
pub(super) fn is_met(expression: &str, is_allowed: impl Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words, &is_allowed) && words.next().is_none()
}

fn any<'a>(
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
    is_allowed: &dyn Fn(&str) -> bool,
) -> bool {
    let mut met = all(words, is_allowed);
    while words.next_if_eq(&"OR").is_some() {
        // Both sides are read, whatever the first one says.
        met |= all(words, is_allowed);
    }
    met
}

fn all<'a>(
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
    is_allowed: &dyn Fn(&str) -> bool,
) -> bool {
    let mut met = one(words, is_allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, is_allowed);
    }
    met
}

fn one<'a>(
    words: &mut Peekable<impl Iterator<Item = &'a str>>,
    is_allowed: &dyn Fn(&str) -> bool,
) -> bool {
    match words.next() {
        Some("(") => any(words, is_allowed) & words.next_if_eq(&")").is_some(),
        Some(licence) if words.next_if_eq(&"WITH").is_some() => {
            let exception = words.next().unwrap_or_default();
            is_allowed(&format!("{licence} WITH {exception}"))
        }
        Some(licence) => is_allowed(licence),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expression_is_met_by_what_is_allowed() {
        let is_allowed = |licence: &str| ["MIT", "ISC"].contains(&licence);
        for met in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "MIT AND ISC",
            "(GPL-3.0 OR MIT) AND ISC",
            "GPL-3.0 AND ISC OR MIT",
        ] {
            assert!(is_met(met, is_allowed), "{met}");
        }
        for unmet in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT AND (GPL-3.0 OR MPL-2.0)",
            "MIT WITH an-exception",
            "(MIT",
            "MIT ISC",
        ] {
            assert!(!is_met(unmet, is_allowed), "{unmet}");
        }
    }
}
