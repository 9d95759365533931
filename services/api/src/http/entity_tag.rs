//! Entity tags: the `ETag` of a record is made of its fingerprint, for conditional requests.

use headers::{Header, IfNoneMatch};
use jetline_core::Fingerprint;
use poem::http::HeaderValue;

/// The tag of a record, and of the declaration by which it is written.
pub(crate) fn of(fingerprint: Fingerprint, declaration: i64) -> String {
    format!("\"{fingerprint}-{declaration}\"")
}

/// Whether `If-None-Match` matches the tag. Its header lines together are one list of weak or strong tags, or `*`
/// alone.
pub(crate) fn matches(lines: &[String], tag: &str) -> bool {
    let lines = lines.iter().filter_map(|line| HeaderValue::from_str(line.trim()).ok());
    let lines: Vec<HeaderValue> = lines.collect();
    let had = IfNoneMatch::decode(&mut lines.iter());
    had.is_ok_and(|had| tag.parse().is_ok_and(|tag| !had.precondition_passes(&tag)))
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
