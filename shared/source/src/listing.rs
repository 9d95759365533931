//! The result of a listing, with the entries that were skipped.

use std::fmt;

use jetline_runtime::terminal::Escaped;

use crate::ObjectVersion;

/// How many skipped entries are named; the others are only counted.
const MAX_NAMED: usize = 20;

/// The contents of a source, or a page of them.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The object versions that match: of a source in (last-modified, key) order, of a page in any.
    pub objects: Vec<ObjectVersion>,
    /// Matching entries that cannot be read, or have no format's extension.
    pub skipped: Skipped,
    /// Whether nothing has the location's name or matches its pattern. An existing, empty directory or bucket is not
    /// missing.
    pub is_missing: bool,
    /// The pages before this one do not count: a better match was found.
    pub replaces: bool,
}

impl Listing {
    /// Adds the next page.
    pub(crate) fn add(&mut self, page: Self) {
        if page.replaces {
            *self = Self::default();
        }
        self.objects.extend(page.objects);
        self.skipped.extend(page.skipped);
        self.is_missing |= page.is_missing;
    }

    pub(crate) fn in_order(mut self) -> Self {
        self.objects.sort_by(|a, b| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        self
    }
}

/// Entries of a listing that are not taken as they are: their number, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    count: u64,
    unreadable: u64,
    named: Vec<String>,
}

impl Skipped {
    /// Adds an entry that cannot be read: its URI, and why.
    pub fn add(&mut self, entry: &str, reason: impl fmt::Display) {
        self.unreadable += 1;
        self.add_other(entry, reason);
    }

    /// Adds an entry that is none of those that were asked for: its URI, and why.
    pub fn add_other(&mut self, entry: &str, reason: impl fmt::Display) {
        self.count += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(format!("{}: {reason}", Escaped(entry)));
        }
    }

    /// Adds the entries of another listing.
    pub fn extend(&mut self, other: Self) {
        self.count += other.count;
        self.unreadable += other.unreadable;
        let room = MAX_NAMED.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }

    /// Their number.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number of those that cannot be read.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The first of them, with reasons. Control characters are escaped.
    #[must_use]
    pub fn named(&self) -> &[String] {
        &self.named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_beyond_the_first_are_counted() {
        let mut all = Skipped::default();
        for number in 0..15 {
            all.add(&number.to_string(), "odd");
        }
        all.add_other("other", "no format");
        all.extend(all.clone());
        assert_eq!((all.count(), all.unreadable(), all.named().len()), (32, 30, MAX_NAMED));
        assert_eq!(all.named()[0], "0: odd");
    }
}
