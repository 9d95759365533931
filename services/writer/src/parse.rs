//! Parses the lines of a chunk into records and keeps the record with the highest rank of each id.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    iter, mem,
};

use jetline_core::{ChunkRange, Key, Position, Rank};
use jetline_datasets::{Dataset, Reason, Rejection, Row};
use jetline_dedup::Claim;
use jetline_queue::Chunk;
use jetline_store::RejectedLine;

/// The byte order mark of UTF-8, which some programs write before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A chunk whose lines are parsed.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Identifies the chunk.
    pub range: ChunkRange,
    /// The record with the highest rank of each id.
    pub records: Vec<ParsedRecord>,
    /// The other valid lines: a line of the chunk superseded them.
    pub superseded: Vec<ParsedRecord>,
    /// The rejected lines.
    pub rejected: Vec<RejectedLine>,
    /// Number of blank lines.
    pub blank: u64,
}

/// A valid line.
#[derive(Clone, Debug)]
pub struct ParsedRecord {
    /// Its row.
    pub row: Row,
    /// The position of its line.
    pub position: Position,
}

impl ParsedRecord {
    /// Among the records of one id, that with the highest rank wins.
    #[must_use]
    pub fn rank(&self) -> Rank {
        Rank { version: self.row.version, position: self.position }
    }

    pub(crate) fn claim(&self) -> Claim {
        let Row { key, fingerprint, .. } = &self.row;
        Claim { key: key.clone(), fingerprint: *fingerprint, rank: self.rank() }
    }
}

/// Parses a chunk. `refused` has the lines, by number, that the database refused: they are rejected.
#[must_use]
pub fn parse(chunk: &Chunk, dataset: &Dataset, refused: &BTreeMap<u32, Rejection>) -> Parsed {
    let expected = chunk.max_lines();
    let mut parser = ChunkParser {
        parsed: Parsed {
            range: chunk.range(),
            records: Vec::with_capacity(expected),
            superseded: Vec::new(),
            rejected: Vec::new(),
            blank: 0,
        },
        winners: HashMap::with_capacity(expected),
    };
    if chunk.oversized {
        parser.reject_oversized(chunk);
        return parser.parsed;
    }
    for (number, at, line) in split(chunk) {
        match refused.get(&number) {
            Some(rejection) => parser.reject(number, at, text(line, at), rejection.clone()),
            None => parser.add(number, at, line, dataset),
        }
    }
    parser.parsed
}

/// The rejected lines of a chunk that the database refused, by number.
pub(crate) fn refused_lines(
    chunk: &Chunk,
    refused: &BTreeMap<u32, Rejection>,
) -> Vec<RejectedLine> {
    let lines = split(chunk).filter_map(|(number, offset, line)| {
        let rejection = refused.get(&number)?.clone();
        Some(RejectedLine { line: number, offset, rejection, raw: text(line, offset).to_vec() })
    });
    lines.take(refused.len()).collect()
}

/// The lines of a chunk, with their numbers and offsets.
fn split(chunk: &Chunk) -> impl Iterator<Item = (u32, u64, &[u8])> {
    let (mut offset, mut number) = (0, chunk.first_line);
    iter::from_fn(move || {
        let rest = chunk.body.get(offset..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = (number, chunk.start + offset as u64, &rest[..length]);
        offset += length + 1;
        number = number.saturating_add(1);
        Some(line)
    })
}

struct ChunkParser {
    parsed: Parsed,
    winners: HashMap<Key, usize>,
}

impl ChunkParser {
    fn add(&mut self, number: u32, offset: u64, line: &[u8], dataset: &Dataset) {
        let text = text(line, offset);
        if text.trim_ascii().is_empty() {
            self.parsed.blank += 1;
            return;
        }
        match dataset.parse_json(text) {
            Ok(row) => self.keep_winner(ParsedRecord {
                row,
                position: Position::new(self.parsed.range.object, number),
            }),
            Err(rejection) => self.reject(number, offset, text, rejection),
        }
    }

    fn keep_winner(&mut self, record: ParsedRecord) {
        match self.winners.entry(record.row.key.clone()) {
            Entry::Vacant(first) => {
                first.insert(self.parsed.records.len());
                self.parsed.records.push(record);
            }
            Entry::Occupied(other) => {
                let other = &mut self.parsed.records[*other.get()];
                let superseded =
                    if record.rank() > other.rank() { mem::replace(other, record) } else { record };
                self.parsed.superseded.push(superseded);
            }
        }
    }

    fn reject(&mut self, line: u32, offset: u64, raw: &[u8], rejection: Rejection) {
        self.parsed.rejected.push(RejectedLine { line, offset, rejection, raw: raw.to_vec() });
    }

    fn reject_oversized(&mut self, chunk: &Chunk) {
        let message = format!(
            "the line has {} bytes, more than the limit (MAX_LINE_BYTES); its first {} are kept",
            chunk.end - chunk.start,
            chunk.body.len()
        );
        let rejection = Rejection::new(Reason::LineTooLong, message);
        // A line that is only just too long is kept whole; its line ending is no part of it.
        let is_kept_whole = chunk.body.len() as u64 + 1 >= chunk.end - chunk.start;
        let raw = if is_kept_whole {
            text(&chunk.body, chunk.start)
        } else {
            without_byte_order_mark(&chunk.body, chunk.start)
        };
        self.reject(chunk.first_line, chunk.start, raw, rejection);
    }
}

/// The text of a line, without a carriage return at its end and the byte order mark at the beginning of an object.
fn text(line: &[u8], offset: u64) -> &[u8] {
    without_byte_order_mark(line.strip_suffix(b"\r").unwrap_or(line), offset)
}

fn without_byte_order_mark(text: &[u8], offset: u64) -> &[u8] {
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) if offset == 0 => rest,
        _ => text,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use jetline_core::ObjectId;
    use jetline_datasets::Datasets;

    use super::*;

    fn product(id: i64, title: &str) -> String {
        format!(
            r#"{{"id":{id},"title":"{title}","price":1,"category":"c","brand":"b","url":"u","description":"d"}}"#
        )
    }

    pub(crate) fn chunk(start: u64, body: &str) -> Chunk {
        Chunk {
            object: ObjectId::new(3).unwrap(),
            incarnation: String::new(),
            dataset: "products".into(),
            declaration: 1,
            start,
            end: start + body.len() as u64,
            first_line: 10,
            lines: u32::try_from(body.lines().count()).unwrap(),
            oversized: false,
            settled: ObjectId::default(),
            read_attempt: String::new(),
            trace: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn parse_with(chunk: &Chunk, refused: &BTreeMap<u32, Rejection>) -> Parsed {
        parse(chunk, Datasets::built_in().unwrap().get("products").unwrap(), refused)
    }

    fn parsed(chunk: &Chunk) -> Parsed {
        parse_with(chunk, &BTreeMap::new())
    }

    #[test]
    fn last_line_of_an_id_wins_and_other_lines_are_superseded() {
        let body = [product(1, "a"), product(2, "b"), product(1, "c")].join("\n");
        let parsed = parsed(&chunk(0, &body));
        let lines: Vec<_> = parsed.records.iter().map(|record| record.position.line()).collect();
        assert_eq!((lines, parsed.superseded.len()), (vec![12, 11], 1));
    }

    #[test]
    fn rejected_line_has_its_number_offset_and_text() {
        let body = format!("{}\n\nnonsense\r\n{}", product(1, "a"), product(2, "b"));
        let parsed = parsed(&chunk(1000, &body));
        assert_eq!(parsed.records.len(), 2);
        let [line] = &parsed.rejected[..] else { panic!("{:?}", parsed.rejected) };
        assert_eq!(line.line, 12);
        assert_eq!(line.offset, 1000 + body.find("nonsense").unwrap() as u64);
        assert_eq!(line.raw, b"nonsense");
    }

    #[test]
    fn carriage_returns_blank_lines_and_a_byte_order_mark_are_accepted() {
        let body = format!("\u{feff}{}\r\n  \t\r\n\n{}\r\n", product(1, "a"), product(2, "b"));
        let parsed = parsed(&chunk(0, &body));
        assert_eq!((parsed.records.len(), parsed.rejected.len()), (2, 0));
        assert_eq!(parsed.blank, 2);
    }

    #[test]
    fn byte_order_mark_elsewhere_is_not_json() {
        let body = format!("{}\n\u{feff}{}", product(1, "a"), product(2, "b"));
        assert_eq!(parsed(&chunk(0, &body)).rejected.len(), 1);
    }

    #[test]
    fn oversized_line_is_rejected_with_its_beginning() {
        let mut chunk = chunk(50, "{\"id\":1,\"tit");
        (chunk.oversized, chunk.end, chunk.lines) = (true, 5_000_000, 1);
        let parsed = parsed(&chunk);
        let [line] = &parsed.rejected[..] else { panic!("{:?}", parsed.rejected) };
        assert_eq!((line.line, line.offset, line.rejection.reason), (10, 50, Reason::LineTooLong));
        assert_eq!(line.raw, b"{\"id\":1,\"tit");
    }

    #[test]
    fn oversized_line_that_is_kept_whole_has_no_carriage_return() {
        let raw = |start, end, body: &str| {
            let mut chunk = chunk(start, body);
            (chunk.oversized, chunk.end, chunk.lines) = (true, end, 1);
            parsed(&chunk).rejected[0].raw.clone()
        };
        assert_eq!(raw(50, 54, "{7\r"), b"{7");
        assert_eq!(raw(50, 53, "{7\r"), b"{7");
        assert_eq!(raw(0, 7, "\u{feff}{7\r"), b"{7");
        assert_eq!(raw(50, 90, "{7\r"), b"{7\r");
        assert_eq!(raw(0, 90, "\u{feff}{7\r"), b"{7\r");
    }

    #[test]
    fn line_count_that_is_too_high_takes_no_memory() {
        let mut chunk = chunk(0, &product(1, "a"));
        chunk.lines = u32::MAX;
        assert_eq!(parsed(&chunk).records.len(), 1);
    }

    #[test]
    fn earlier_line_wins_where_the_database_refused_the_later_one() {
        let later = product(1, "b");
        let body = format!("{}\n{later}\r\n", product(1, "a"));
        let refused = Rejection::new(Reason::RefusedByDatabase, "no");
        let parsed = parse_with(&chunk(0, &body), &BTreeMap::from([(11, refused.clone())]));
        assert_eq!(parsed.records[0].position.line(), 10);
        assert!(parsed.superseded.is_empty());
        assert_eq!(parsed.rejected[0].rejection, refused);
        assert_eq!(parsed.rejected[0].raw, later.as_bytes());
    }
}
