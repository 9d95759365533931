//! Entity tags: the `ETag` of a record is its fingerprint, for conditional requests.

use jetline_core::Fingerprint;

/// The tag of a record.
pub(crate) fn of(fingerprint: Fingerprint) -> String {
    format!("\"{fingerprint}\"")
}

/// Whether `If-None-Match` matches the tag. Its header lines together are one list of weak or strong tags, or `*`
/// alone.
pub(crate) fn matches(lines: &[String], tag: &str) -> bool {
    match lines {
        [line] if line.trim() == "*" => true,
        lines => lines.iter().flat_map(|line| tags(line)).any(|had| had == tag),
    }
}

/// The tags of a line, without their prefix for weak ones. A tag may contain commas, so they are found by their quotes.
fn tags(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let begin = rest.find('"')?;
        let end = begin + 2 + rest[begin + 1..].find('"')?;
        let between = rest[..begin].trim_matches([' ', '\t', ',']);
        let tag = &rest[begin..end];
        rest = &rest[end..];
        // A syntax error ends the list.
        matches!(between, "" | "W/").then_some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(lines: &[&str]) -> bool {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        matches(&lines, "\"a\"")
    }

    #[test]
    fn tag_is_found_in_every_form() {
        for header in [
            "\"a\"",
            "W/\"a\"",
            "\"b\", \"a\"",
            "\"b\",W/\"a\"",
            "\"b,c\" , ,\t\"a\"",
            "*",
            " \"a\" ",
        ] {
            assert!(has(&[header]), "{header}");
        }
        for header in ["", "a", "\"b\"", "\"aa\"", "w/\"a\"", "\"b,*,c\"", "\"a", "b \"a\""] {
            assert!(!has(&[header]), "{header}");
        }
    }

    #[test]
    fn list_on_several_lines_is_one_list() {
        assert!(has(&["\"b\"", "\"a\""]));
        assert!(has(&["\"b\", \"c\"", "", "W/\"a\", \"d\""]));
        assert!(!has(&["\"b\"", "\"c\""]));
        assert!(!has(&[]));
    }
}
