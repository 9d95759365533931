//! Selects the keys of a location: by prefix, and by glob.

use crate::glob::{Glob, InvalidPattern, is_hidden};

/// The characters that make a text a glob.
const WILDCARDS: [char; 4] = ['*', '?', '[', '{'];

/// A literal prefix and, if the text has wildcards, the whole glob.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    prefix: String,
    glob: Option<Glob>,
    /// The text, if it differs from the prefix: a key may have exactly this name.
    literal: Option<String>,
}

/// How a key fits a pattern, in increasing precedence: a key of exactly the name comes before one that only matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// It matches the pattern, or begins with the prefix.
    Matches,
    /// It lies below a directory whose name is the text, wildcards included.
    Below,
    /// It equals the text.
    Exact,
}

impl Pattern {
    /// Parses `path/to/`, `path/to/key` or `path/*/part-?.{jsonl,jsonl.gz}`. A glob that ends in `/` matches everything
    /// below.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let (prefix, is_glob) = unescaped(text);
        let all_below = if text.ends_with('/') { "**" } else { "" };
        let glob = is_glob.then(|| Glob::parse(&format!("{text}{all_below}"))).transpose()?;
        let has_other_name = is_glob || prefix != text;
        Ok(Self {
            text: text.to_owned(),
            prefix,
            glob,
            literal: has_other_name.then(|| text.to_owned()),
        })
    }

    /// Matches everything.
    #[must_use]
    pub fn all() -> Self {
        Self::exact("")
    }

    /// A text without wildcards: a prefix, or only the key of that name if there is one.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self { text: text.to_owned(), prefix: text.to_owned(), glob: None, literal: None }
    }

    /// The common prefix of all keys that match.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The common prefix of all keys that match or have exactly the text as their name.
    pub(crate) fn listing_prefix(&self) -> &str {
        let Some(literal) = &self.literal else {
            return &self.prefix;
        };
        let special = |c| c == '\\' || WILDCARDS.contains(&c);
        &literal[..literal.find(special).unwrap_or(literal.len())]
    }

    /// The pattern as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has wildcards.
    #[must_use]
    pub fn is_glob(&self) -> bool {
        self.glob.is_some()
    }

    /// Whether a key matches, is not hidden, and is not a directory placeholder.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        !key.ends_with('/')
            && match &self.glob {
                Some(glob) => glob.matches(key),
                None => key.starts_with(&self.prefix) && !self.hides(key),
            }
    }

    /// Whether anything below a directory can match.
    pub(crate) fn leads_into(&self, directory: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.leads_into(directory),
            None => !self.hides(directory),
        }
    }

    /// Whether and how a key fits.
    pub(crate) fn fit(&self, key: &str) -> Option<Fit> {
        if let Some(literal) = &self.literal {
            let name = Self::exact(literal);
            let rest = key.strip_prefix(literal);
            let is_below = rest.is_some_and(|rest| literal.ends_with('/') || rest.starts_with('/'));
            if rest == Some("") || is_below {
                let fit = if is_below { Fit::Below } else { Fit::Exact };
                return name.matches(key).then_some(fit);
            }
        }
        let is_exact = self.glob.is_none() && key == self.prefix;
        let fit = if is_exact { Fit::Exact } else { Fit::Matches };
        self.matches(key).then_some(fit)
    }

    /// Whether a key that matches is taken: one that only lies below a directory needs the extension of a format.
    pub(crate) fn takes(&self, key: &str) -> bool {
        jetline_formats::extension(key).is_some() || self.selects_name(key)
    }

    /// Whether the text has the name of a key or a pattern of it, and not only a directory above it.
    fn selects_name(&self, key: &str) -> bool {
        let is_directory = self.text.is_empty() || self.text.ends_with('/');
        match self.fit(key) {
            Some(Fit::Exact) => true,
            Some(Fit::Matches) if self.is_glob() => !is_directory,
            Some(Fit::Matches) => !is_directory && !key[self.prefix.len()..].starts_with('/'),
            Some(Fit::Below) | None => false,
        }
    }

    /// Whether a segment after the prefix starts with `.` or `_`. Segments that the prefix names are included.
    fn hides(&self, key: &str) -> bool {
        let mut begin = 0;
        key.split('/').any(|segment| {
            let below = begin >= self.prefix.len();
            begin += segment.len() + 1;
            below && is_hidden(segment)
        })
    }
}

/// The text up to its first wildcard, unescaped; and whether it has a wildcard.
fn unescaped(text: &str) -> (String, bool) {
    let mut literal = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => literal.push(characters.next().unwrap_or('\\')),
            wildcard if WILDCARDS.contains(&wildcard) => return (literal, true),
            character => literal.push(character),
        }
    }
    (literal, false)
}

/// The end of the last directory before the first wildcard, if there is one.
pub(crate) fn base(text: &str) -> Option<usize> {
    let mut base = 0;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '/' => base = at + 1,
            wildcard if WILDCARDS.contains(&wildcard) => return Some(base),
            _ => {}
        }
    }
    None
}

/// Why a name is not taken from a directory.
pub(crate) fn no_format() -> String {
    format!(
        "only names in {} are taken from a directory: give its name or a pattern (SOURCE)",
        jetline_formats::extensions()
    )
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
    fn star_matches_within_a_segment_and_two_stars_across() {
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
    fn glob_that_ends_in_a_slash_matches_everything_below() {
        let keys = ["in/2024-1/a", "in/2024-2/b/c", "in/2024-3", "in/2024-4/_d"];
        assert_eq!(matched("in/2024-*/", &keys), keys[..2]);
    }

    #[test]
    fn backslash_escapes_a_wildcard() {
        let keys = ["a[1].x", "a1.x", "a*", "ab"];
        assert_eq!(matched(r"a\[1\].x", &keys), ["a[1].x"]);
        assert_eq!(matched(r"a\[*", &keys), ["a[1].x"]);
        assert_eq!(matched("a[1].x", &keys), ["a1.x"]);
        assert_eq!(matched(r"a\*", &keys), ["a*"]);
        assert!(!Pattern::parse(r"a\*").unwrap().is_glob());
        assert_eq!(Pattern::parse(r"a\[b/*").unwrap().prefix(), "a[b/");
    }

    #[test]
    fn exact_name_takes_precedence_over_a_match() {
        let fit = |pattern, key| Pattern::parse(pattern).unwrap().fit(key);
        assert_eq!(fit("a[1].x", "a[1].x"), Some(Fit::Exact));
        assert_eq!(fit("a[1].x", "a1.x"), Some(Fit::Matches));
        assert_eq!(fit("br[1]/", "br[1]/a/b"), Some(Fit::Below));
        assert_eq!(fit("q?r", "q?r/a"), Some(Fit::Below));
        assert_eq!(fit("q?r", "q?r/_a"), None);
        assert_eq!(fit(r"a\b", r"a\b"), Some(Fit::Exact));
        assert_eq!(fit("a/b", "a/b"), Some(Fit::Exact));
        assert_eq!(fit("a/b", "a/b.old"), Some(Fit::Matches));
        assert!(Fit::Exact > Fit::Below && Fit::Below > Fit::Matches);
        assert_eq!(Pattern::parse(r"in/a\[1]*").unwrap().listing_prefix(), "in/a");
    }

    #[test]
    fn base_is_the_last_directory_without_wildcards() {
        assert_eq!(base("a/b/c-*/x"), Some(4));
        assert_eq!(base(r"a\[/b*"), Some(4));
        assert_eq!(base("a/b"), None);
    }

    #[test]
    fn hidden_segments_and_placeholders_are_excluded() {
        let keys = ["a/", "a/b", "a/_tmp/b", "a/.b", "a/_b", "a/b_/c.d"];
        assert_eq!(matched("a/", &keys), ["a/b", "a/b_/c.d"]);
        assert_eq!(matched("a", &keys), ["a/b", "a/b_/c.d"]);
    }

    #[test]
    fn segment_named_by_the_location_is_not_hidden() {
        assert_eq!(matched("_a/", &["_a/b", "_a/_b"]), ["_a/b"]);
        assert_eq!(matched("a", &["a_1", "a/_1"]), ["a_1"]);
        assert_eq!(matched("a/_b*", &["a/_b1", "a/_c"]), ["a/_b1"]);
    }

    #[test]
    fn only_hidden_segments_that_the_pattern_names_match() {
        let keys = ["in/_a.x", "in/b.x", "in/_c.x", "in/d/_e.x", "in/_f/_e.x"];
        assert_eq!(matched("in/{_a,b}.x", &keys), ["in/_a.x", "in/b.x"]);
        assert_eq!(matched("in/{_a,*}.x", &keys), ["in/_a.x", "in/b.x"]);
        assert_eq!(matched("in/*/_e.x", &keys), ["in/d/_e.x"]);
        assert_eq!(matched("in/**/_e.x", &keys), ["in/d/_e.x"]);
        assert_eq!(matched("in/[_b]*.x", &keys), ["in/b.x"]);
        assert_eq!(matched(r"in/\_a*", &keys), ["in/_a.x"]);
        assert_eq!(matched("{in/{_a,x},in/d/_e}.x", &keys), ["in/_a.x", "in/d/_e.x"]);
        assert_eq!(matched("in/{_,b}*.x", &keys), ["in/_a.x", "in/b.x", "in/_c.x"]);
        assert_eq!(matched("in/[!b]*.x", &keys), [""; 0]);
        assert_eq!(matched("in/?a.x", &keys), [""; 0]);
        assert_eq!(matched("**", &keys), ["in/b.x"]);
        assert_eq!(matched("*/{.,_}c*", &["a/.c", "a/_cd", "a/xc"]), ["a/.c", "a/_cd"]);
        assert_eq!(matched("*.x", &["a_.b.x", "ü.x", ".x"]), ["a_.b.x", "ü.x"]);
        assert_eq!(matched("{,a/}_b", &["_b", "a/_b", "x_b"]), ["_b", "a/_b"]);
    }

    #[test]
    fn number_of_expanded_alternatives_is_limited() {
        assert_eq!(matched(&"{a,b}".repeat(12), &[&"ab".repeat(6)]).len(), 1);
        let error = Pattern::parse(&"{a/,b}".repeat(12)).unwrap_err();
        assert!(error.to_string().contains("1000 alternatives"), "{error}");
    }

    #[test]
    fn directory_is_entered_only_if_a_key_below_it_can_match() {
        let leads = |pattern, directory| Pattern::parse(pattern).unwrap().leads_into(directory);
        for (pattern, directory) in [
            ("2024-*/", "2024-1"),
            ("2024-*/", "2024-1/b"),
            ("*/*.jsonl", "a"),
            ("{a/b,c}/*.jsonl", "a"),
            ("{a/b,c}/*.jsonl", "a/b"),
            ("**/*.jsonl", "a/b/c"),
            ("a/**/_b/*", "a/b/_b"),
            ("", "a"),
        ] {
            assert!(leads(pattern, directory), "{pattern} {directory}");
        }
        for (pattern, directory) in [
            ("2024-*/", "lost+found"),
            ("2024-*/", "2024-1/_tmp"),
            ("*.jsonl", "a"),
            ("*.jsonl", "a.jsonl"),
            ("*/*.jsonl", "a/b"),
            ("*/*.jsonl", "_a"),
            ("{a/b,c}/*.jsonl", "b"),
            ("**/*.jsonl", ".git"),
            ("", "_a"),
        ] {
            assert!(!leads(pattern, directory), "{pattern} {directory}");
        }
    }
}
