//! Parses the lines of a chunk into records and keeps the record with the highest rank of each id.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    mem,
};

use jetline_core::{ChunkRange, Key, Mode, Position, Rank};
use jetline_datasets::{Dataset, Origin, Reason, RedactionKey, Rejection, Row, UnknownFields};
use jetline_dedup::Claim;
use jetline_formats::{Parser, Record, oversized_record, records};
use jetline_queue::Chunk;
use jetline_store::{KeyClaim, RejectedLine, UpsertRow};

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
    /// Number of lines on which no record begins: blank ones, the header of CSV, and the second and later lines of a record.
    pub blank: u64,
    /// The fields that no column takes.
    pub unknown: UnknownFields,
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

    pub(crate) fn into_row(self, if_changed: bool, claim: KeyClaim) -> UpsertRow {
        UpsertRow { row: self.row, position: self.position, if_changed, claim }
    }

    /// The row of a record that is not claimed.
    pub(crate) fn into_unclaimed_row(self, mode: Mode) -> UpsertRow {
        self.into_row(mode == Mode::InOrder, KeyClaim::None)
    }

    pub(crate) fn claim(&self) -> Claim {
        let Row { key, fingerprint, .. } = &self.row;
        Claim { key: key.clone(), fingerprint: *fingerprint, rank: self.rank() }
    }
}

/// Parses a chunk. Clear values of redacted columns are redacted by the key. `rejections` has lines that
/// are rejected whatever they hold, by number.
#[must_use]
pub fn parse(
    chunk: &Chunk,
    dataset: &Dataset,
    key: Option<&RedactionKey>,
    rejections: &BTreeMap<u32, Rejection>,
) -> Parsed {
    if !dataset.has_redaction() {
        return parse_lines(chunk, dataset, rejections);
    }
    let mut parsed = match key {
        _ if chunk.is_redacted => parse_lines(chunk, &dataset.redacted(), rejections),
        Some(key) => redacted(parse_lines(chunk, dataset, rejections), dataset, key),
        None => reject_all(chunk, dataset),
    };
    for rejected in &mut parsed.rejected {
        rejected.raw.clear();
    }
    parsed
}

fn redacted(parsed: Parsed, dataset: &Dataset, key: &RedactionKey) -> Parsed {
    let redact = |records: Vec<ParsedRecord>| {
        let each = records.into_iter();
        each.map(|one| ParsedRecord { row: dataset.redact(one.row, key), ..one }).collect()
    };
    Parsed { records: redact(parsed.records), superseded: redact(parsed.superseded), ..parsed }
}

/// Rejects all records of an object with clear values: they must not be stored.
fn reject_all(chunk: &Chunk, dataset: &Dataset) -> Parsed {
    let message = format!(
        "{} has redacted columns: post its records to the api, which redacts them, or set REDACT_KEY for the writers",
        dataset.name
    );
    let rejection = Rejection::new(Reason::InvalidValue, message);
    let lines = split(chunk).filter(|record| !record.text.is_empty());
    let all = lines.map(|record| (record.line, rejection.clone())).collect();
    parse_lines(chunk, dataset, &all)
}

fn parse_lines(chunk: &Chunk, dataset: &Dataset, rejections: &BTreeMap<u32, Rejection>) -> Parsed {
    let expected = chunk.max_lines();
    let mut parser = ChunkParser {
        parsed: Parsed {
            range: chunk.range(),
            records: Vec::with_capacity(expected),
            superseded: Vec::new(),
            rejected: Vec::new(),
            blank: 0,
            unknown: UnknownFields::default(),
        },
        winners: HashMap::with_capacity(expected),
    };
    if chunk.oversized {
        parser.reject_oversized(chunk);
        return parser.parsed;
    }
    let mut rows = Parser::new(chunk.format, &chunk.header, dataset);
    for record in split(chunk) {
        if record.text.is_empty() {
            parser.parsed.blank += u64::from(record.lines);
            continue;
        }
        parser.parsed.blank += u64::from(record.lines.saturating_sub(1));
        if let Some(rejection) = rejections.get(&record.line) {
            parser.reject(&record, rejection.clone());
            continue;
        }
        let position = Position::new(parser.parsed.range.object, record.line);
        let modified_at = chunk.modified_at.unwrap_or(Origin::default().modified_at);
        let origin = Origin { position, modified_at };
        let row = rows.parse(record.text, origin);
        parser.add(&record, position, row);
    }
    Parsed { unknown: rows.into_unknown_fields(), ..parser.parsed }
}

/// The rejected lines of a chunk that the database refused, by number.
pub(crate) fn refused_lines(
    chunk: &Chunk,
    dataset: &Dataset,
    refused: &BTreeMap<u32, Rejection>,
) -> Vec<RejectedLine> {
    let lines = split(chunk).filter(|record| !record.text.is_empty()).filter_map(|record| {
        let rejection = refused.get(&record.line)?.clone();
        let text = if dataset.has_redaction() { &[] } else { record.text };
        Some(rejected(&Record { text, ..record }, rejection))
    });
    lines.take(refused.len()).collect()
}

fn split(chunk: &Chunk) -> impl Iterator<Item = Record<'_>> {
    records(chunk.format, &chunk.body, chunk.start, chunk.first_line)
}

fn rejected(record: &Record<'_>, rejection: Rejection) -> RejectedLine {
    let Record { line, offset, text, .. } = *record;
    RejectedLine { line, offset, rejection, raw: text.to_vec() }
}

struct ChunkParser {
    parsed: Parsed,
    winners: HashMap<Key, usize>,
}

impl ChunkParser {
    fn add(&mut self, record: &Record<'_>, position: Position, row: Result<Row, Rejection>) {
        match row {
            Ok(row) => self.keep_winner(ParsedRecord { row, position }),
            Err(rejection) => self.reject(record, rejection),
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

    fn reject(&mut self, record: &Record<'_>, rejection: Rejection) {
        self.parsed.rejected.push(rejected(record, rejection));
    }

    fn reject_oversized(&mut self, chunk: &Chunk) {
        let message = format!(
            "the record has {} bytes, more than the limit (MAX_LINE_BYTES); its first {} are kept",
            chunk.end - chunk.start,
            chunk.body.len()
        );
        let rejection = Rejection::new(Reason::LineTooLong, message);
        let record = oversized_record(chunk.format, &chunk.body, chunk.start, chunk.end);
        let Some((skipped, text)) = record else {
            self.parsed.blank += 1;
            return;
        };
        let offset = chunk.start + skipped as u64;
        self.reject(&Record { line: chunk.first_line, lines: 1, offset, text }, rejection);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use jetline_core::ObjectId;
    use jetline_datasets::Datasets;
    use jetline_formats::{Delimiter, Format};

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
            format: Format::JsonLines,
            header: Bytes::new(),
            modified_at: None,
            is_redacted: false,
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
        parse(chunk, Datasets::built_in().unwrap().get("products").unwrap(), None, refused)
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
    fn oversized_record_behind_white_space_is_rejected_and_what_is_none_is_blank() {
        let csv = Format::Csv(Delimiter::Comma);
        for (format, start, end, body, blank) in [
            (Format::JsonLines, 50, 5_000_000, "    ", 0),
            (Format::JsonValues, 50, 5_000_000, "    ", 0),
            (Format::JsonArray, 50, 5_000_000, ",   ", 0),
            (csv, 50, 5_000_000, "    ", 0),
            (Format::JsonLines, 50, 55, "    ", 1),
            (Format::JsonArray, 50, 55, "    ", 1),
            (Format::JsonArray, 50, 5_000_000, "\n]  ", 1),
            (csv, 0, 5_000_000, "id,title", 1),
        ] {
            let mut chunk = chunk(start, body);
            (chunk.format, chunk.oversized, chunk.end, chunk.lines) = (format, true, end, 1);
            let parsed = parsed(&chunk);
            assert_eq!(
                (parsed.rejected.len() as u64, parsed.blank),
                (1 - blank, blank),
                "{body:?}"
            );
            let reasons = parsed.rejected.iter().map(|line| line.rejection.reason);
            assert!(reasons.eq(std::iter::repeat_n(Reason::LineTooLong, parsed.rejected.len())));
        }
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
    fn lines_of_csv_on_which_no_record_begins_are_blank() {
        let header = "id,title,price,category,brand,url,description";
        let body = format!("{header}\n1,\"a\nb\",1,c,b,u,\"\n\"\n\n2,t,-1,c,b,u,d\n3,t\n4,\"\n");
        let chunk = Chunk {
            format: Format::Csv(Delimiter::Comma),
            header: Bytes::from_static(header.as_bytes()),
            first_line: 1,
            lines: 8,
            ..chunk(0, &body)
        };
        let parsed = parsed(&chunk);
        assert_eq!(parsed.records[0].position.line(), 2);
        let rejected: Vec<(u32, Reason)> =
            parsed.rejected.iter().map(|line| (line.line, line.rejection.reason)).collect();
        let expected = [(6, Reason::OutOfRange), (7, Reason::InvalidCsv), (8, Reason::InvalidCsv)];
        assert_eq!(rejected, expected);
        // The header, two lines of the first record, and a blank one.
        assert_eq!((parsed.records.len(), parsed.blank), (1, 4));
        assert_eq!(parsed.rejected[0].offset, body.find("2,t").unwrap() as u64);
    }

    #[test]
    fn clear_values_are_redacted_or_rejected_and_their_text_is_not_kept() {
        let declaration = r#"
            key = "id"
            unknown = "reject"
            columns = { id = "text", number = { type = "text", format = "luhn", redact = "last4" } }
        "#;
        let cards = jetline_datasets::parse("cards", "cards.toml", declaration).unwrap();
        let lines = ["4111111111111111", "4111111111111112", "5500005555555559"];
        let lines = lines.map(|number| format!(r#"{{"id":"a","number":"{number}"}}"#)).join("\n");
        let key = RedactionKey::new(&[7; 32]).unwrap();
        let parsed = |key| parse(&chunk(0, &lines), &cards, key, &BTreeMap::new());
        let with_key = parsed(Some(&key));
        let rows = with_key.records.iter().chain(&with_key.superseded);
        let numbers: Vec<String> = rows.map(|record| record.row.values[1].to_text()).collect();
        assert_eq!(numbers, ["5559", "1111"]);
        let texts = |parsed: &Parsed| -> Vec<Vec<u8>> {
            parsed.rejected.iter().map(|line| line.raw.clone()).collect()
        };
        assert_eq!(texts(&with_key), [b""]);
        let without = parsed(None);
        assert_eq!((without.records.len(), texts(&without)), (0, vec![Vec::new(); 3]));
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
