//! Texts with braces, brackets and backslashes in them, taken apart.

use std::{iter, ops::Range};

/// The parts between separators, but not those within braces and brackets or behind a backslash.
pub(crate) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let end = at + group(rest).unwrap_or_else(|| token(rest));
        if rest.starts_with(separator) {
            parts.push(&text[begin..at]);
            begin = end;
        }
        at = end;
    }
    parts.push(&text[begin..]);
    parts
}

/// Where the braces are that are within no others.
pub(crate) fn groups(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    iter::from_fn(move || {
        while at < text.len() {
            let begin = at;
            let group = group(&text[at..]);
            at += group.unwrap_or_else(|| token(&text[at..]));
            if group.is_some() {
                return Some(begin..at);
            }
        }
        None
    })
}

/// How long the braces are with which a text begins. One that is never closed is a character like any other.
fn group(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        depth += i32::from(rest.starts_with('{')) - i32::from(rest.starts_with('}'));
        at += token(rest);
        if depth <= 0 {
            break;
        }
    }
    (text.starts_with('{') && depth == 0).then_some(at)
}

/// How long the character is with which a text begins: with what a backslash takes the meaning from, and as a whole where
/// it is a class in brackets, of which the first character may be `]`.
fn token(text: &str) -> usize {
    let mut characters = text.chars();
    match characters.next() {
        Some('\\') => 1 + characters.next().map_or(0, char::len_utf8),
        Some('[') => {
            let negation = usize::from(text[1..].starts_with(['!', '^']));
            let first = 1 + negation + usize::from(text[1 + negation..].starts_with(']'));
            text[first..].find(']').map_or(1, |end| first + end + 1)
        }
        first => first.map_or(0, char::len_utf8),
    }
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
            (r"{a\},b},c", vec![r"{a\},b}", "c"]),
            ("{[}],b},c", vec!["{[}],b}", "c"]),
            ("[],]a,b", vec!["[],]a", "b"]),
            ("[!],]a,b", vec!["[!],]a", "b"]),
            ("[a,b", vec!["[a", "b"]),
            ("a,", vec!["a", ""]),
            ("a\\", vec!["a\\"]),
        ] {
            assert_eq!(split(text, ','), parts, "{text}");
        }
    }

    #[test]
    fn outer_braces_are_found() {
        let text = r"a{b,{c}}\{[{]{d}{";
        let found: Vec<&str> = groups(text).map(|group| &text[group]).collect();
        assert_eq!(found, ["{b,{c}}", "{d}"]);
    }
}
