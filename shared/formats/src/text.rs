//! What belongs to a line, and not to its text.

/// The byte order mark of UTF-8, which some programs write first.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line without its ending.
pub(crate) fn without_ending(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The bytes at an offset, without the byte order mark at the beginning of an object.
pub(crate) fn without_mark(bytes: &[u8], offset: u64) -> &[u8] {
    match bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) if offset == 0 => rest,
        _ => bytes,
    }
}

/// White space of JSON.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The text from the first byte on that is no white space.
pub(crate) fn without_space(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|byte| is_space(**byte)).count()..]
}
