//! Untrusted text for a terminal: keys, and messages that quote lines.

pub(crate) use jetline_runtime::terminal::Escaped;

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
    fn file_name_is_escaped() {
        assert_eq!(escaped_file_name("s3://bucket/a/b\r.jsonl"), r"b\r.jsonl");
    }

    #[test]
    fn text_is_shortened_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöü", 2), "äö…");
    }
}
