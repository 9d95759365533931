//! Splits texts that contain braces, brackets and backslashes.

use std::{iter, ops::Range};

/// Splits at separators, except within braces and brackets or after a backslash.
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

/// The ranges of the outermost braces.
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

/// The length of the braces at the start of a text. A brace that is never closed is an ordinary character.
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

/// The length of the first token of a text: a character, a backslash with the character it escapes, or a class in
/// brackets, whose first character may be `]`.
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
    fn commas_separate_except_within_braces_and_brackets_or_after_backslashes() {
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
