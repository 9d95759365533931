//! Entity tags: a record's fingerprint, so that whoever has the record need not get it again.

use jetline_records::Fingerprint;

/// The tag of a record.
pub(crate) fn of(fingerprint: Fingerprint) -> String {
    format!("\"{fingerprint}\"")
}

/// Whether the value of `If-None-Match` says that the caller has it: a list of tags, weak or strong, or `*`.
pub(crate) fn matches(if_none_match: &str, tag: &str) -> bool {
    if_none_match.split(',').map(str::trim).any(|candidate| {
        candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_found_in_every_form_that_clients_send() {
        for header in [
            "\"a\"",
            "W/\"a\"",
            "\"b\", \"a\"",
            "\"b\",W/\"a\"",
            "*",
            " \"a\" ",
        ] {
            assert!(matches(header, "\"a\""), "{header}");
        }
        for header in ["", "a", "\"b\"", "\"aa\"", "w/\"a\""] {
            assert!(!matches(header, "\"a\""), "{header}");
        }
    }
}
