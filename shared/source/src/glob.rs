//! Globs, matched segment by segment, so that they tell as well what can match below a directory.
//!
//! A segment that begins with `.` or `_` is hidden: it matches only what begins with that character itself, in one of its
//! alternatives.

use std::ops::Range;

use globset::{GlobBuilder, GlobMatcher};

use crate::braces;

/// The most alternatives that are spelled out.
const ALTERNATIVES: usize = 1_000;

/// `*` and `?` stay within a segment, `**` does not; a backslash takes the meaning from the character behind it.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    /// One for each alternative that has a slash.
    ways: Vec<Vec<Segment>>,
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

/// Not a pattern.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPattern(String);

/// Whether a segment of a key is not meant unless it is named.
pub(crate) fn is_hidden(segment: &str) -> bool {
    segment.starts_with(['.', '_'])
}

impl Glob {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        // An error speaks of the whole.
        compile(text)?;
        let with_slash =
            |text: &str| braces::groups(text).find(|at| text[at.clone()].contains('/'));
        let ways = spelled_out(text, with_slash)?;
        let ways = ways.iter().map(|way| segments(way));
        Ok(Self {
            ways: ways.collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn matches(&self, key: &str) -> bool {
        self.ways.iter().any(|way| reached(way, key)[way.len()])
    }

    /// Whether something below a directory can match.
    pub(crate) fn leads_into(&self, directory: &str) -> bool {
        let mut ways = self.ways.iter();
        ways.any(|way| reached(way, directory)[..way.len()].contains(&true))
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let at_begin = |text: &str| braces::groups(text).next().filter(|at| at.start == 0);
        let alternatives = spelled_out(text, at_begin)?;
        let names = |text: &&String| is_hidden(text.strip_prefix('\\').unwrap_or(text));
        let hidden = alternatives.iter().filter(names);
        Ok(Self::One {
            any: compile(text)?,
            hidden: hidden.map(|text| compile(text)).collect::<Result<_, _>>()?,
        })
    }
}

/// How many segments of a way may have matched a key, each number that is possible.
fn reached(way: &[Segment], key: &str) -> Vec<bool> {
    let mut at = vec![false; way.len() + 1];
    at[0] = true;
    for name in key.split('/') {
        let mut next = vec![false; at.len()];
        for (index, segment) in way.iter().enumerate() {
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

fn segments(way: &str) -> Result<Vec<Segment>, InvalidPattern> {
    let mut segments = Vec::new();
    for text in braces::split(way, '/') {
        segments.push(match text {
            "**" => Segment::Any,
            text => Segment::parse(text)?,
        });
    }
    // At the end it is one segment at least.
    if matches!(segments.last(), Some(Segment::Any)) {
        segments.push(Segment::parse("*")?);
    }
    Ok(segments)
}

/// A text once for each alternative of the braces that are found in it, one after another.
fn spelled_out(
    text: &str,
    find: impl Fn(&str) -> Option<Range<usize>>,
) -> Result<Vec<String>, InvalidPattern> {
    let (mut rest, mut done) = (vec![text.to_owned()], Vec::new());
    while let Some(text) = rest.pop() {
        let Some(at) = find(&text) else {
            done.push(text);
            continue;
        };
        let (before, behind) = (&text[..at.start], &text[at.end..]);
        for alternative in braces::split(&text[at.start + 1..at.end - 1], ',') {
            rest.push(format!("{before}{alternative}{behind}"));
        }
        if rest.len() + done.len() > ALTERNATIVES {
            return Err(InvalidPattern(format!(
                "the braces stand for more than {ALTERNATIVES} alternatives: use wildcards, or several sources"
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
