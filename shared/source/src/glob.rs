//! Globs, matched segment by segment, so that they also decide whether anything below a directory can match.
//!
//! A segment that begins with `.` or `_` is hidden: only a pattern that begins with that character, in one of its
//! alternatives, matches it.

use std::ops::Range;

use globset::{GlobBuilder, GlobMatcher};

use crate::braces;

/// The most alternatives into which braces are expanded.
const MAX_ALTERNATIVES: usize = 1_000;

/// `*` and `?` match within a segment, `**` across segments; a backslash escapes the character after it.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    /// The expansions of all braces that contain a slash.
    paths: Vec<Vec<Segment>>,
}

#[derive(Clone, Debug)]
enum Segment {
    /// `**`, any number of segments that are not hidden.
    Any,
    One {
        any: GlobMatcher,
        hidden: Vec<GlobMatcher>,
    },
}

/// A text is not a pattern.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(String);

/// Whether a segment of a key is excluded unless the pattern names it.
pub(crate) fn is_hidden(segment: &str) -> bool {
    segment.starts_with(['.', '_'])
}

impl Glob {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        // Compiled as a whole first, so that an error shows the whole pattern.
        compile(text)?;
        let with_slash =
            |text: &str| braces::groups(text).find(|at| text[at.clone()].contains('/'));
        let paths = expanded(text, with_slash)?;
        let paths = paths.iter().map(|path| segments(path));
        Ok(Self { paths: paths.collect::<Result<_, _>>()? })
    }

    pub(crate) fn matches(&self, key: &str) -> bool {
        self.paths.iter().any(|path| reached(path, key)[path.len()])
    }

    /// Whether anything below a directory can match.
    pub(crate) fn leads_into(&self, directory: &str) -> bool {
        let mut paths = self.paths.iter();
        paths.any(|path| reached(path, directory)[..path.len()].contains(&true))
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let at_begin = |text: &str| braces::groups(text).next().filter(|at| at.start == 0);
        let alternatives = expanded(text, at_begin)?;
        let names = |text: &&String| is_hidden(text.strip_prefix('\\').unwrap_or(text));
        let hidden = alternatives.iter().filter(names);
        Ok(Self::One {
            any: compile(text)?,
            hidden: hidden.map(|text| compile(text)).collect::<Result<_, _>>()?,
        })
    }
}

/// For each number of segments, whether so many of the path can match the whole key.
fn reached(path: &[Segment], key: &str) -> Vec<bool> {
    let mut at = vec![false; path.len() + 1];
    at[0] = true;
    for name in key.split('/') {
        let mut next = vec![false; at.len()];
        for (index, segment) in path.iter().enumerate() {
            if !at[index] {
                continue;
            }
            match segment {
                Segment::Any => {
                    at[index + 1] = true;
                    next[index] |= !is_hidden(name);
                }
                Segment::One { hidden, .. } if is_hidden(name) => {
                    next[index + 1] |= hidden.iter().any(|one| one.is_match(name));
                }
                Segment::One { any, .. } => next[index + 1] |= any.is_match(name),
            }
        }
        at = next;
    }
    at
}

fn segments(path: &str) -> Result<Vec<Segment>, InvalidPattern> {
    let mut segments = Vec::new();
    for text in braces::split(path, '/') {
        segments.push(match text {
            "**" => Segment::Any,
            text => Segment::parse(text)?,
        });
    }
    // A final `**` matches at least one segment.
    if matches!(segments.last(), Some(Segment::Any)) {
        segments.push(Segment::parse("*")?);
    }
    Ok(segments)
}

/// Expands the braces that `find` returns, one after another, into all their alternatives.
fn expanded(
    text: &str,
    find: impl Fn(&str) -> Option<Range<usize>>,
) -> Result<Vec<String>, InvalidPattern> {
    let (mut rest, mut done) = (vec![text.to_owned()], Vec::new());
    while let Some(text) = rest.pop() {
        let Some(at) = find(&text) else {
            done.push(text);
            continue;
        };
        let (before, after) = (&text[..at.start], &text[at.end..]);
        for alternative in braces::split(&text[at.start + 1..at.end - 1], ',') {
            rest.push(format!("{before}{alternative}{after}"));
        }
        if rest.len() + done.len() > MAX_ALTERNATIVES {
            return Err(InvalidPattern(format!(
                "the braces expand to more than {MAX_ALTERNATIVES} alternatives: use wildcards, or several sources"
            )));
        }
    }
    Ok(done)
}

fn compile(text: &str) -> Result<GlobMatcher, InvalidPattern> {
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build();
    let glob = glob.map_err(|error| InvalidPattern(error.to_string()))?;
    Ok(glob.compile_matcher())
}
