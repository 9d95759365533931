//! Several sources in one text.

use std::str::FromStr;

use crate::{InvalidLocation, Location};

/// Locations that are separated by commas. A comma within braces or brackets, or behind a backslash, belongs to a
/// location.
#[derive(Clone, Debug)]
pub struct Locations(Vec<Location>);

impl Locations {
    /// One after another.
    #[must_use]
    pub fn all(&self) -> &[Location] {
        &self.0
    }
}

impl FromStr for Locations {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let locations = split(text).into_iter().map(str::parse);
        locations.collect::<Result<_, _>>().map(Self)
    }
}

fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(character) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match character {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            '{' => braces(rest),
            '[' => rest.find(']').unwrap_or(1),
            character => character.len_utf8(),
        };
        if character == ',' {
            parts.push(&text[begin..at - 1]);
            begin = at;
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// How long the braces are with which a text begins. One that is never closed is a character like any other.
fn braces(text: &str) -> usize {
    let mut depth = 0;
    let close = text.bytes().position(|byte| {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        depth == 0
    });
    close.map_or(1, |close| close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_but_within_braces_and_brackets_and_behind_backslashes() {
        for (text, parts) in [
            ("a,b", vec!["a", "b"]),
            ("in/*.{jsonl,gz},b", vec!["in/*.{jsonl,gz}", "b"]),
            ("a[,;]b,c", vec!["a[,;]b", "c"]),
            (r"a\,b,ü", vec![r"a\,b", "ü"]),
            (r"a\{b,c}", vec![r"a\{b", "c}"]),
            ("a{b,c", vec!["a{b", "c"]),
            ("{a,{b,c},e},d", vec!["{a,{b,c},e}", "d"]),
            ("a,", vec!["a", ""]),
            ("a\\", vec!["a\\"]),
        ] {
            assert_eq!(split(text), parts, "{text}");
        }
        let both: Locations = "products=a/*.{x,y},s3://shop/b".parse().unwrap();
        assert_eq!(both.all().len(), 2);
        assert!("a,".parse::<Locations>().is_err());
    }
}
