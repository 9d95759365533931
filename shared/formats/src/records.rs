//! The records of a chunk.

use crate::{
    Format,
    framing::Framing,
    text::{without_ending, without_mark, without_space},
};

/// A record of a chunk, or what stands in the place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The number of its first line; of JSON in other forms than lines, its own number.
    pub line: u32,
    /// How many lines it has.
    pub lines: u32,
    /// The offset of its text in the object.
    pub offset: u64,
    /// Its text, without line ending, separator and byte order mark; empty if there is no record: a blank line, the header
    /// of CSV, the end of an array.
    pub text: &'a [u8],
}

/// The records of a chunk, in order, as the [`Splitter`](crate::split::Splitter) found them.
pub fn records(
    format: Format,
    body: &[u8],
    start: u64,
    first_line: u32,
) -> impl Iterator<Item = Record<'_>> {
    let (mut at, mut line) = (0, first_line);
    std::iter::from_fn(move || {
        let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
        let offset = start + at as u64;
        let mut framing = Framing::new(format, offset == 0);
        // Damage is behind the last chunk.
        let end = framing.scan(rest).ok().flatten();
        let bytes = &rest[..end.unwrap_or(rest.len())];
        let broken = framing.unclosed_line().or(framing.malformed_line());
        let lines = broken.map_or_else(|| framing.lines(), |_| 1);
        let (skipped, text) = record_text(format, bytes, offset, true);
        let record = Record { line, lines, offset: offset + skipped as u64, text };
        at += bytes.len();
        line = line.saturating_add(lines);
        Some(record)
    })
}

/// The text of a record that is too long, of which `body` is the beginning, and how many bytes before it are not part of it. None
/// if there certainly is no record; behind white space alone may be one, whose text is empty then.
#[must_use]
pub fn oversized_record(
    format: Format,
    body: &[u8],
    start: u64,
    end: u64,
) -> Option<(usize, &[u8])> {
    // One that is only just too long is kept whole; its line ending is no part of it.
    let is_kept_whole = body.len() as u64 + 1 >= end - start;
    let (skipped, text) = record_text(format, body, start, is_kept_whole);
    // The header of CSV and the end of an array are no records either, however long they are.
    let is_blank = is_kept_whole || matches!(format, Format::Csv(_)) || body.contains(&b']');
    (!text.is_empty() || !is_blank).then_some((skipped, text))
}

/// The text of a record at an offset, and how many bytes before it are not part of it. Only one that is whole has a line
/// ending.
fn record_text(format: Format, bytes: &[u8], offset: u64, is_whole: bool) -> (usize, &[u8]) {
    if matches!(format, Format::JsonValues | Format::JsonArray) {
        let text = value(without_mark(bytes, offset), format == Format::JsonArray, offset == 0);
        return (bytes.len() - text.len(), if text.starts_with(b"]") { &[] } else { text });
    }
    let text = without_mark(if is_whole { without_ending(bytes) } else { bytes }, offset);
    let is_blank = match format {
        Format::Csv(_) => offset == 0,
        _ => text.trim_ascii().is_empty(),
    };
    (0, if is_blank { &[] } else { text })
}

/// A JSON value without what separates it from the one before.
fn value(text: &[u8], is_in_array: bool, is_first: bool) -> &[u8] {
    let separator: &[u8] = match (is_in_array, is_first) {
        (false, _) => b"",
        (true, false) => b",",
        (true, true) => b"[",
    };
    let text = without_space(text);
    without_space(text.strip_prefix(separator).unwrap_or(text))
}
