//! Which keys belong to a location: those below a prefix, and of them those that match a glob.

use globset::{Glob, GlobBuilder, GlobMatcher};

/// What makes a text a glob.
const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];

/// A literal prefix and, when the text has wildcards, the glob as a whole: `*` stays within a segment, `**` does not.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    prefix: String,
    glob: Option<GlobMatcher>,
}

impl Pattern {
    /// Reads `path/to/`, `path/to/key` or `path/*/part-?.{jsonl,jsonl.gz}`.
    pub fn parse(text: &str) -> Result<Self, globset::Error> {
        let literal = text.find(WILDCARDS).unwrap_or(text.len());
        let glob = (literal < text.len()).then(|| compile(text)).transpose()?;
        Ok(Self {
            text: text.to_owned(),
            prefix: text[..literal].to_owned(),
            glob: glob.map(|glob| glob.compile_matcher()),
        })
    }

    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::exact("")
    }

    /// A text without wildcards: a prefix, and the key of that name alone where there is one.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            prefix: text.to_owned(),
            glob: None,
        }
    }

    /// What all keys that belong begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there are wildcards.
    #[must_use]
    pub fn is_glob(&self) -> bool {
        self.glob.is_some()
    }

    /// How many segments a key may have, where that is limited.
    pub(crate) fn max_segments(&self) -> Option<usize> {
        let deep = self.glob.is_none() || self.text.contains("**");
        (!deep).then(|| self.text.matches('/').count() + 1)
    }

    /// Whether a key belongs: below the prefix, matched, not hidden and not a directory's placeholder.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        key.starts_with(&self.prefix)
            && !key.ends_with('/')
            && !self.hides(key)
            && self.glob.as_ref().is_none_or(|glob| glob.is_match(key))
    }

    /// Whether a segment that begins behind the prefix starts with `.` or `_`. What the prefix names itself is wanted.
    pub(crate) fn hides(&self, key: &str) -> bool {
        let mut begin = 0;
        key.split('/').any(|segment| {
            let below = begin >= self.prefix.len();
            begin += segment.len() + 1;
            below && segment.starts_with(['.', '_'])
        })
    }
}

fn compile(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched<'a>(pattern: &str, keys: &[&'a str]) -> Vec<&'a str> {
        let pattern = Pattern::parse(pattern).unwrap();
        let matches = |key: &&str| pattern.matches(key);
        keys.iter().copied().filter(matches).collect()
    }

    #[test]
    fn star_stays_within_a_segment_and_two_stars_do_not() {
        let keys = ["a/x.jsonl", "a/b/x.jsonl", "a/b/c/x.jsonl", "a/x.txt"];
        assert_eq!(matched("a/*.jsonl", &keys), ["a/x.jsonl"]);
        assert_eq!(matched("a/**/*.jsonl", &keys), keys[..3]);
        assert_eq!(matched("*/x.{jsonl,txt}", &keys), ["a/x.jsonl", "a/x.txt"]);
    }

    #[test]
    fn prefix_ends_before_the_first_wildcard() {
        assert_eq!(Pattern::parse("a/b-*/c").unwrap().prefix(), "a/b-");
        assert_eq!(Pattern::parse("a/b/c").unwrap().prefix(), "a/b/c");
    }

    #[test]
    fn hidden_segments_and_placeholders_are_left_out() {
        let keys = ["a/", "a/b", "a/_tmp/b", "a/.b", "a/_b", "a/b_/c.d"];
        assert_eq!(matched("a/", &keys), ["a/b", "a/b_/c.d"]);
        assert_eq!(matched("a", &keys), ["a/b", "a/b_/c.d"]);
    }

    #[test]
    fn what_the_location_names_itself_is_not_hidden() {
        assert_eq!(matched("_a/", &["_a/b", "_a/_b"]), ["_a/b"]);
        assert_eq!(matched("a", &["a_1", "a/_1"]), ["a_1"]);
        assert_eq!(matched("a/_b*", &["a/_b1", "a/_c"]), ["a/_b1"]);
    }

    #[test]
    fn depth_is_known_without_two_stars() {
        assert_eq!(Pattern::parse("*.jsonl").unwrap().max_segments(), Some(1));
        assert_eq!(Pattern::parse("*/*.jsonl").unwrap().max_segments(), Some(2));
        assert_eq!(Pattern::parse("**/*.jsonl").unwrap().max_segments(), None);
        assert_eq!(Pattern::all().max_segments(), None);
    }
}
