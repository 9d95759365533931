//! Paths of records.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is escaped in a segment of a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A key as a segment of a path.
#[must_use]
pub fn path_segment(key: &str) -> String {
    utf8_percent_encode(key, ESCAPED).to_string()
}
