//! Escapes untrusted text for a terminal: keys, and messages that quote lines.

use std::fmt::{self, Write};

/// The text on one line, with every character escaped that could move the cursor, set colours, or reorder the text.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            if is_hostile(char) {
                write!(f, "{}", char.escape_default())?;
            } else {
                f.write_char(char)?;
            }
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, and characters that change the text direction.
fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The beginning of a text, with an ellipsis if there is more.
pub(crate) fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The last segment of an object's URI.
pub(crate) fn escaped_file_name(uri: &str) -> String {
    Escaped(uri.rsplit('/').next().unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        let forged = "a\u{1b}[31mRED\u{9b}0m\nfake.jsonl  done\u{202e}";
        assert_eq!(
            Escaped(forged).to_string(),
            r"a\u{1b}[31mRED\u{9b}0m\nfake.jsonl  done\u{202e}"
        );
        assert_eq!(Escaped("Größe 1 ✓.jsonl").to_string(), "Größe 1 ✓.jsonl");
        assert_eq!(escaped_file_name("s3://bucket/a/b\r.jsonl"), r"b\r.jsonl");
    }

    #[test]
    fn text_is_shortened_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü", 2), "äö…");
    }
}
