//! What a listing finds, and what it cannot take.

use std::fmt;

use crate::ObjectVersion;

/// How many entries that cannot be read are named; the others are counted.
const NAMED: usize = 20;

/// What a source holds now.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Every object version that matches, in (last-modified, key) order.
    pub objects: Vec<ObjectVersion>,
    /// What should have been among them.
    pub left_out: LeftOut,
    /// Whether nothing at all has the name, or matches the pattern, that the location gives. A directory or a bucket
    /// that is there and empty is not missing.
    pub is_missing: bool,
}

impl Listing {
    pub(crate) fn in_order(mut self) -> Self {
        self.objects
            .sort_by(|a, b| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        self
    }
}

/// Entries that a listing shows and that can never be read as they are: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    count: u64,
    named: Vec<String>,
}

impl LeftOut {
    /// Adds an entry: its address, and why it is left out.
    pub fn add(&mut self, entry: &str, reason: impl fmt::Display) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{}: {reason}", Shown(entry)));
        }
    }

    /// Adds those of another listing.
    pub fn extend(&mut self, other: Self) {
        self.count += other.count;
        let room = NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first of them, each with its reason. Control characters are escaped.
    #[must_use]
    pub fn named(&self) -> &[String] {
        &self.named
    }
}

/// A name as it may be shown on a terminal: control characters are escaped.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(char::is_control) {
            match part.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    write!(f, "{}{}", &part[..at], last.escape_default())?;
                }
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_escaped_and_nothing_else_is() {
        let shown = Shown("a\u{1b}[31mü'\n\u{9b}").to_string();
        assert_eq!(shown, "a\\u{1b}[31mü'\\n\\u{9b}");
        assert_eq!(Shown("").to_string(), "");
    }

    #[test]
    fn entries_beyond_the_first_are_counted() {
        let mut all = LeftOut::default();
        for number in 0..15 {
            all.add(&number.to_string(), "odd");
        }
        all.extend(all.clone());
        assert_eq!((all.count(), all.named().len()), (30, NAMED));
        assert_eq!(all.named()[0], "0: odd");
    }
}
