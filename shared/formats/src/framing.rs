//! Where records end.

use memchr::{memchr, memchr2, memchr3};

use crate::{
    Format,
    text::{BYTE_ORDER_MARK, is_space},
};

/// The content is not of its format from some byte on: no later record can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged at byte {at}: {what}")]
pub struct Damaged {
    /// The offset in the content.
    pub at: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// Damage at an offset in the bytes that were scanned last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// Finds the end of a record in bytes that arrive in parts.
#[derive(Clone, Debug)]
pub(crate) enum Framing {
    Lines,
    Csv(CsvFraming),
    Json(JsonFraming),
}

impl Framing {
    /// At the start of a record, which is the first one of the content or another one.
    pub(crate) fn new(format: Format, is_first: bool) -> Self {
        match format {
            Format::JsonLines => Self::Lines,
            Format::Csv(delimiter) => Self::Csv(CsvFraming::new(delimiter.byte(), is_first)),
            Format::JsonValues => Self::Json(JsonFraming::new(false, is_first)),
            Format::JsonArray => Self::Json(JsonFraming::new(true, is_first)),
        }
    }

    /// Scans the next bytes. Returns how many of them belong to the record, if it ends in them.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match self {
            Self::Lines => Ok(line(bytes)),
            Self::Csv(csv) => Ok(csv.scan(bytes)),
            Self::Json(json) => json.scan(bytes),
        }
    }

    /// As [`scan`](Self::scan), of a record that is too long: one of lines ends with its first line.
    pub(crate) fn scan_oversized(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        match self {
            Self::Lines | Self::Csv(_) => Ok(line(bytes)),
            Self::Json(json) => json.scan(bytes),
        }
    }

    /// The lines of the record that ended. Records of JSON are counted as lines.
    pub(crate) fn lines(&self) -> u32 {
        match self {
            Self::Lines | Self::Json(_) => 1,
            Self::Csv(csv) => csv.lines(),
        }
    }

    /// The bytes of the first line of a record that has more than one.
    pub(crate) fn first_line(&self) -> Option<usize> {
        match self {
            Self::Lines | Self::Json(_) => None,
            Self::Csv(csv) => csv.first_line,
        }
    }

    /// As [`first_line`](Self::first_line), if the record cannot end here because a quote is not closed.
    pub(crate) fn unclosed_line(&self) -> Option<usize> {
        match self {
            Self::Csv(csv) if csv.field == Field::Quoted => csv.first_line,
            _ => None,
        }
    }

    /// As [`first_line`](Self::first_line), if a quote on a later line is out of place.
    pub(crate) fn malformed_line(&self) -> Option<usize> {
        match self {
            Self::Csv(csv) if csv.field == Field::Malformed => csv.first_line,
            _ => None,
        }
    }

    /// Checks that the content may end here.
    pub(crate) fn finish(&self) -> Result<(), &'static str> {
        match self {
            Self::Lines | Self::Csv(_) => Ok(()),
            Self::Json(json) => json.finish(),
        }
    }
}

/// The bytes of the first line, with its newline.
fn line(bytes: &[u8]) -> Option<usize> {
    memchr(b'\n', bytes).map(|at| at + 1)
}

/// CSV: a newline ends a record unless it is quoted. With a quote out of place, the record is none, and ends with the next
/// newline: otherwise it could take the next records with it.
#[derive(Clone, Debug)]
pub(crate) struct CsvFraming {
    delimiter: u8,
    field: Field,
    /// How many bytes of the byte order mark were skipped.
    mark: usize,
    /// Bytes scanned so far.
    scanned: usize,
    newlines: u32,
    first_line: Option<usize>,
    is_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Start,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted field: the end of the quotes, or the first of two.
    Quote,
    /// Behind the carriage return after the end of quotes.
    Return,
    Malformed,
}

impl CsvFraming {
    pub(crate) const fn new(delimiter: u8, is_first: bool) -> Self {
        let mark = if is_first { 0 } else { BYTE_ORDER_MARK.len() };
        let (scanned, newlines, first_line, is_ended) = (0, 0, None, false);
        let field = Field::Start;
        Self { delimiter, field, mark, scanned, newlines, first_line, is_ended }
    }

    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let skipped = match self.field {
                Field::Quoted => memchr2(b'"', b'\n', rest),
                Field::Unquoted => memchr3(self.delimiter, b'\n', b'"', rest),
                Field::Malformed => memchr(b'\n', rest),
                Field::Start | Field::Quote | Field::Return => Some(0),
            };
            let Some(skipped) = skipped else { break };
            at += skipped + 1;
            if self.take(rest[skipped], self.scanned + at) {
                self.is_ended = true;
                return Some(at);
            }
        }
        self.scanned += bytes.len();
        None
    }

    /// Takes a byte that may matter, and the number of bytes up to it; returns whether it ends the record.
    fn take(&mut self, byte: u8, scanned: usize) -> bool {
        if byte == b'\n' {
            self.newlines = self.newlines.saturating_add(1);
        }
        match (self.field, byte) {
            (Field::Quoted, b'\n') => {
                self.first_line.get_or_insert(scanned);
            }
            (_, b'\n') => return true,
            (Field::Quoted, _) => self.field = Field::Quote,
            (Field::Start, byte) if BYTE_ORDER_MARK.get(self.mark) == Some(&byte) => {
                self.mark += 1;
                return false;
            }
            (Field::Start | Field::Quote, b'"') => self.field = Field::Quoted,
            (Field::Start | Field::Unquoted | Field::Quote, byte) if byte == self.delimiter => {
                self.field = Field::Start;
            }
            (Field::Start, _) => self.field = Field::Unquoted,
            (Field::Quote, b'\r') => self.field = Field::Return,
            _ => self.field = Field::Malformed,
        }
        self.mark = BYTE_ORDER_MARK.len();
        false
    }

    /// Why what was scanned, without its line ending, is no record.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self.field {
            Field::Quoted => {
                Some("the record does not end within its limits: a quote is not closed")
            }
            Field::Malformed | Field::Return => Some(
                "a quote is out of place: fields with quotes are quoted, and quotes in them doubled",
            ),
            Field::Start | Field::Unquoted | Field::Quote => None,
        }
    }

    fn lines(&self) -> u32 {
        self.newlines.saturating_add(u32::from(!self.is_ended))
    }
}

/// JSON values, in an array or one after another. What separates them belongs to the value behind it, and what follows the
/// last one is a record without a value.
#[derive(Clone, Debug)]
pub(crate) struct JsonFraming {
    is_array: bool,
    phase: Phase,
    /// How many bytes of the byte order mark were skipped.
    mark: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the bracket of the array.
    Open,
    /// Before the first value of the array.
    First,
    /// Before the comma.
    Comma,
    /// Before a value.
    Value,
    /// Behind the array.
    Closed,
    Container {
        depth: u64,
    },
    StringIn {
        depth: u64,
    },
    EscapeIn {
        depth: u64,
    },
    Scalar,
}

impl JsonFraming {
    fn new(is_array: bool, is_first: bool) -> Self {
        let phase = match (is_array, is_first) {
            (true, true) => Phase::Open,
            (true, false) => Phase::Comma,
            (false, _) => Phase::Value,
        };
        Self { is_array, phase, mark: if is_first { 0 } else { BYTE_ORDER_MARK.len() } }
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let byte = rest[0];
            match self.phase {
                Phase::StringIn { depth } => {
                    let Some(skipped) = memchr2(b'"', b'\\', rest) else { break };
                    at += skipped + 1;
                    self.phase = match rest[skipped] {
                        b'\\' => Phase::EscapeIn { depth },
                        _ if depth == 0 => return Ok(Some(at)),
                        _ => Phase::Container { depth },
                    };
                    continue;
                }
                Phase::EscapeIn { depth } => self.phase = Phase::StringIn { depth },
                Phase::Container { depth } => match byte {
                    b'"' => self.phase = Phase::StringIn { depth },
                    b'{' | b'[' => self.phase = Phase::Container { depth: depth + 1 },
                    b'}' | b']' if depth == 1 => return Ok(Some(at + 1)),
                    b'}' | b']' => self.phase = Phase::Container { depth: depth - 1 },
                    _ => {}
                },
                Phase::Scalar if is_in_scalar(byte) => {}
                Phase::Scalar => return Ok(Some(at)),
                _ => self.between(byte).map_err(|what| Fault { at, what })?,
            }
            at += 1;
        }
        Ok(None)
    }

    /// Takes a byte between values.
    fn between(&mut self, byte: u8) -> Result<(), &'static str> {
        if BYTE_ORDER_MARK.get(self.mark) == Some(&byte) {
            self.mark += 1;
            return Ok(());
        }
        self.mark = BYTE_ORDER_MARK.len();
        if is_space(byte) {
            return Ok(());
        }
        self.phase = match (self.phase, byte) {
            (Phase::Open, b'[') => Phase::First,
            (Phase::First | Phase::Comma, b']') => Phase::Closed,
            (Phase::Comma, b',') => Phase::Value,
            (Phase::First | Phase::Value, b'{' | b'[') => Phase::Container { depth: 1 },
            (Phase::First | Phase::Value, b'"') => Phase::StringIn { depth: 0 },
            (Phase::First | Phase::Value, byte) if is_in_scalar(byte) => Phase::Scalar,
            (Phase::Open, _) => return Err("the array does not begin here"),
            (Phase::Comma, _) => return Err("a comma or the end of the array is missing"),
            (Phase::Value, b']') if self.is_array => {
                return Err("a comma is followed by the end of the array");
            }
            (Phase::Closed, _) => return Err("the end of the array is followed by other text"),
            _ => return Err("no JSON value begins here"),
        };
        Ok(())
    }

    fn finish(&self) -> Result<(), &'static str> {
        match self.phase {
            Phase::Closed => Ok(()),
            Phase::Value | Phase::Scalar if !self.is_array => Ok(()),
            Phase::Open | Phase::First | Phase::Comma | Phase::Value => {
                Err("the content ends before the end of the array: it is truncated")
            }
            _ => Err("the content ends inside a value: it is truncated"),
        }
    }
}

/// Whether a number, a literal or something wrong in their place goes on.
const fn is_in_scalar(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b',' | b'[' | b']' | b'{' | b'}' | b'"' | b':')
}
