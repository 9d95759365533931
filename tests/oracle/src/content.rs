//! The records of an object's content.

use crate::{KEPT, MAX_LINE, Reason};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How content is divided into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A record per line.
    JsonLines,
    /// An array, or values one after another.
    Json,
    /// With this delimiter, and a header.
    Csv(u8),
}

/// A record, or what stands in the place of one.
pub(crate) struct Piece<'a> {
    /// Its first line; in JSON its number.
    pub(crate) line: i64,
    pub(crate) offset: usize,
    /// What is kept of it if it is rejected.
    pub(crate) raw: &'a [u8],
    pub(crate) text: Result<Text<'a>, Reason>,
}

pub(crate) enum Text<'a> {
    Json(&'a [u8]),
    Csv(Vec<Vec<u8>>),
}

/// The records of a content that is complete, and the number of its lines.
pub(crate) fn pieces(format: Format, content: &[u8]) -> (Vec<Piece<'_>>, i64) {
    match format {
        Format::JsonLines => json_lines(content),
        Format::Json => json_values(content),
        Format::Csv(delimiter) => csv(content, delimiter),
    }
}

/// The names in the header of CSV.
pub(crate) fn header(content: &[u8], delimiter: u8) -> Vec<String> {
    let fields = csv_record(unmarked(content, 0), delimiter).unwrap_or_default().0;
    fields.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect()
}

fn json_lines(content: &[u8]) -> (Vec<Piece<'_>>, i64) {
    let mut pieces = Vec::new();
    let (mut offset, mut line) = (0, 0);
    for bytes in content.split_inclusive(|byte| *byte == b'\n') {
        line += 1;
        let raw = raw_line(bytes, offset);
        if is_long(bytes) {
            pieces.push(Piece { line, offset, raw, text: Err("line_too_long") });
        } else if !raw.trim_ascii().is_empty() {
            pieces.push(Piece { line, offset, raw, text: Ok(Text::Json(raw)) });
        }
        offset += bytes.len();
    }
    (pieces, line)
}

fn csv(content: &[u8], delimiter: u8) -> (Vec<Piece<'_>>, i64) {
    let mut pieces = Vec::new();
    let (mut offset, mut line) = (0, 1);
    while offset < content.len() {
        let rest = &content[offset..];
        let first = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let record = csv_record(unmarked(rest, offset), delimiter);
        let record =
            record.map(|(fields, end)| (fields, end + rest.len() - unmarked(rest, offset).len()));
        // Of one that does not end, or not within the limit, the first line is rejected.
        let (bytes, text) = match record {
            Some((fields, end)) if !is_long(&rest[..end]) => (&rest[..end], Ok(Text::Csv(fields))),
            _ if is_long(first) => (first, Err("line_too_long")),
            _ => (first, Err("invalid_csv")),
        };
        let raw = raw_line(bytes, offset);
        if offset > 0 && !raw.is_empty() {
            pieces.push(Piece { line, offset, raw, text });
        }
        line += newlines(bytes);
        offset += bytes.len();
    }
    (pieces, newlines(content) + i64::from(!content.is_empty() && !content.ends_with(b"\n")))
}

/// The fields of the record at the beginning of a text, and its length with its newline; nothing if its quotes are wrong.
fn csv_record(text: &[u8], delimiter: u8) -> Option<(Vec<Vec<u8>>, usize)> {
    let (mut fields, mut at) = (Vec::new(), 0);
    loop {
        let (field, length) = match text.get(at) {
            Some(b'"') => quoted(&text[at + 1..]).map(|(field, length)| (field, length + 1))?,
            _ => unquoted(&text[at..], delimiter)?,
        };
        fields.push(field);
        at += length;
        match &text[at..] {
            [] | [b'\r'] => return Some((fields, text.len())),
            [b'\n', ..] => return Some((fields, at + 1)),
            [b'\r', b'\n', ..] => return Some((fields, at + 2)),
            [byte, ..] if *byte == delimiter => at += 1,
            _ => return None,
        }
    }
}

/// A field up to its closing quote, and its length with that.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut field, mut at) = (Vec::new(), 0);
    loop {
        match (text.get(at)?, text.get(at + 1)) {
            (b'"', Some(b'"')) => at += 1,
            (b'"', _) => return Some((field, at + 1)),
            _ => {}
        }
        field.push(text[at]);
        at += 1;
    }
}

fn unquoted(text: &[u8], delimiter: u8) -> Option<(Vec<u8>, usize)> {
    let is_end = |byte: &u8| *byte == delimiter || *byte == b'\n';
    let end = text.iter().position(is_end).unwrap_or(text.len());
    let field = &text[..end];
    let field = match text.get(end) {
        Some(byte) if *byte == delimiter => field,
        _ => field.strip_suffix(b"\r").unwrap_or(field),
    };
    (!field.contains(&b'"')).then(|| (field.to_vec(), field.len()))
}

fn json_values(content: &[u8]) -> (Vec<Piece<'_>>, i64) {
    let space = |at: usize| {
        let is_space = |byte: &&u8| byte.is_ascii_whitespace();
        at + content[at..].iter().take_while(is_space).count()
    };
    let mut pieces = Vec::new();
    let (mut start, mut line) = (0, 0);
    let begin = space(content.len() - unmarked(content, 0).len());
    let mut at = begin;
    let is_array = content.get(begin) == Some(&b'[');
    while at < content.len() {
        if is_array && [b'[', b','].contains(&content[at]) {
            at = space(at + 1);
        }
        if is_array && content[at] == b']' {
            break;
        }
        line += 1;
        let end = at + value_length(&content[at..]);
        let is_long = end - start > MAX_LINE;
        let raw = if is_long { &content[at..end.min(start + KEPT)] } else { &content[at..end] };
        let text = if is_long { Err("line_too_long") } else { Ok(Text::Json(raw)) };
        pieces.push(Piece { line, offset: at, raw, text });
        start = end;
        at = space(end);
    }
    // What follows the last value counts as a blank line.
    (pieces, line + i64::from(start < content.len()))
}

/// The length of the value at the beginning of a text, by its brackets and quotes alone.
fn value_length(text: &[u8]) -> usize {
    let is_between = |byte: &u8| byte.is_ascii_whitespace() || b",[]{}\":".contains(byte);
    if !b"{[\"".contains(&text[0]) {
        return text.iter().position(is_between).unwrap_or(text.len());
    }
    let (mut depth, mut is_text, mut is_escaped) = (0, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => depth += 1,
            b'}' | b']' if !is_text => depth -= 1,
            _ => {}
        }
        if depth == 0 && !is_text {
            return at + 1;
        }
    }
    text.len()
}

fn is_long(line: &[u8]) -> bool {
    line.strip_suffix(b"\n").unwrap_or(line).len() > MAX_LINE
}

/// What is kept of a line.
fn raw_line(bytes: &[u8], offset: usize) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let kept =
        if line.len() > KEPT { &line[..KEPT] } else { line.strip_suffix(b"\r").unwrap_or(line) };
    unmarked(kept, offset)
}

fn unmarked(bytes: &[u8], offset: usize) -> &[u8] {
    match bytes.strip_prefix(BYTE_ORDER_MARK) {
        Some(unmarked) if offset == 0 => unmarked,
        _ => bytes,
    }
}

fn newlines(bytes: &[u8]) -> i64 {
    bytes.iter().map(|byte| i64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line, offset and fields or reason of each piece.
    fn found(format: Format, content: &str) -> (Vec<(i64, usize, String)>, i64) {
        let (pieces, lines) = pieces(format, content.as_bytes());
        let pieces = pieces.iter().map(|piece| {
            let text = match &piece.text {
                Ok(Text::Json(text)) => String::from_utf8_lossy(text).into_owned(),
                Ok(Text::Csv(fields)) => String::from_utf8_lossy(&fields.join(&b'|')).into_owned(),
                Err(reason) => format!("{reason}: {}", String::from_utf8_lossy(piece.raw)),
            };
            (piece.line, piece.offset, text)
        });
        (pieces.collect(), lines)
    }

    fn piece(line: i64, offset: usize, text: &str) -> (i64, usize, String) {
        (line, offset, text.to_owned())
    }

    #[test]
    fn values_are_numbered_and_what_follows_the_last_one_counts() {
        let values = [piece(1, 3, "{\"a\":\"]}\\\"\"}"), piece(2, 19, "17"), piece(3, 22, "{}")];
        let content = "[\n {\"a\":\"]}\\\"\"}\n , 17,{} ]\n";
        assert_eq!(found(Format::Json, content), (values.to_vec(), 4));
        assert_eq!(found(Format::Json, "{} \n{}"), (vec![piece(1, 0, "{}"), piece(2, 4, "{}")], 2));
        assert_eq!(found(Format::Json, "[ ]"), (vec![], 1));
        let long = format!("[{{}}, \"{}\"]", "x".repeat(MAX_LINE));
        assert!(found(Format::Json, &long).0[1].2.starts_with("line_too_long: \"xx"));
    }

    #[test]
    fn quotes_out_of_place_cost_one_line() {
        let content = "\u{feff}a;\"b\nc\"\r\n1;\"x\"\"\n;\"\n\n\"2;3\n4;x\n5;\"6\"7\n8;9\r\n";
        let expected = [
            piece(3, 12, "1|x\"\n;"),
            piece(6, 23, "invalid_csv: \"2;3"),
            piece(7, 28, "4|x"),
            piece(8, 32, "invalid_csv: 5;\"6\"7"),
            piece(9, 39, "8|9"),
        ];
        assert_eq!(found(Format::Csv(b';'), content), (expected.to_vec(), 9));
        assert_eq!(header(content.as_bytes(), b';'), ["a", "b\nc"]);
    }
}
