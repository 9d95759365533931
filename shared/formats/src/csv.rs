//! CSV: the header, and the fields of a record.

use std::collections::HashMap;

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use jetline_datasets::{Reason, Rejection};

use crate::{
    Detected, Format, NotAFormat,
    format::Delimiter,
    framing::CsvFraming,
    text::{without_ending, without_mark},
};

/// How many first bytes of an object [`detect`](crate::detect()) needs; a CSV header is within them.
pub const HEAD_BYTES: usize = 64 << 10;

/// The format of CSV with this beginning.
pub(crate) fn detect(head: &[u8], delimiter: Option<Delimiter>) -> Result<Detected, NotAFormat> {
    let delimiter = delimiter.unwrap_or_else(|| {
        let count = |delimiter: &Delimiter| separators(head, delimiter.byte());
        let all = Delimiter::ALL.into_iter().rev();
        all.max_by_key(count).unwrap_or(Delimiter::Comma)
    });
    let format = Format::Csv(delimiter);
    let is_complete = CsvFraming::new(delimiter.byte(), true).scan(head).is_some();
    if !is_complete && head.len() >= HEAD_BYTES {
        let message = format!("it does not end within {HEAD_BYTES} bytes: is a quote not closed?");
        return Err(NotAFormat::Header(message));
    }
    let header = first_record(head, delimiter.byte());
    if !head.is_empty() {
        names(delimiter, header).map_err(NotAFormat::Header)?;
    }
    Ok(Detected { format, header: Bytes::copy_from_slice(header) })
}

/// How often a delimiter occurs in the first record, outside of quotes.
fn separators(head: &[u8], delimiter: u8) -> usize {
    let mut is_quoted = false;
    let unquoted = head.iter().filter(|byte| {
        is_quoted ^= **byte == b'"';
        !is_quoted
    });
    unquoted.take_while(|byte| **byte != b'\n').filter(|byte| **byte == delimiter).count()
}

fn first_record(head: &[u8], delimiter: u8) -> &[u8] {
    let head = without_mark(head, 0);
    let end = CsvFraming::new(delimiter, false).scan(head);
    without_ending(&head[..end.unwrap_or(head.len())])
}

/// The names of the fields: different ones, and none empty.
pub(crate) fn names(delimiter: Delimiter, header: &[u8]) -> Result<Vec<String>, String> {
    let mut fields = Fields::new(delimiter.byte());
    let count = fields.read(header).map_err(|rejection| rejection.message)?;
    if count == 0 {
        return Err("the first line is empty".to_owned());
    }
    let mut columns = HashMap::new();
    let mut names = Vec::with_capacity(count);
    for (column, name) in (1..).zip(fields.iter()) {
        let name = name.map_err(|rejection| rejection.message)?;
        if name.is_empty() {
            return Err(format!("column {column} has no name"));
        }
        if name.replace("\r\n", "").contains('\r') {
            return Err(
                "its lines end with a carriage return alone: let them end with a newline".into()
            );
        }
        if let Some(other) = columns.insert(name.to_owned(), column) {
            return Err(format!("columns {other} and {column} have the same name"));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The fields of the record that was read last.
pub(crate) struct Fields {
    reader: Reader,
    delimiter: u8,
    values: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
}

impl Fields {
    pub(crate) fn new(delimiter: u8) -> Self {
        let mut builder = ReaderBuilder::new();
        let reader = builder.delimiter(delimiter).terminator(Terminator::Any(b'\n')).build();
        let mut fields = Self { reader, delimiter, values: vec![0], ends: vec![0], count: 0 };
        // A byte order mark is only skipped at the very beginning, which is the parser's own.
        fields.reader.read_record(b"\n", &mut fields.values, &mut fields.ends);
        fields
    }

    /// Reads a record without its line ending; returns the number of its fields.
    pub(crate) fn read(&mut self, record: &[u8]) -> Result<usize, Rejection> {
        let mut framing = CsvFraming::new(self.delimiter, false);
        framing.scan(record);
        if let Some(fault) = framing.fault() {
            return Err(Rejection::new(Reason::InvalidCsv, fault));
        }
        self.values.resize(record.len().max(1), 0);
        let (mut read, mut written, mut count) = (0, 0, 0);
        for input in [record, b"\n"] {
            read = 0;
            loop {
                let (values, ends) = (&mut self.values[written..], &mut self.ends[count..]);
                let (result, bytes, output, fields) =
                    self.reader.read_record(&input[read..], values, ends);
                (read, written, count) = (read + bytes, written + output, count + fields);
                match result {
                    ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                    ReadRecordResult::OutputFull => self.values.resize(2 * self.values.len(), 0),
                    _ => break,
                }
            }
        }
        debug_assert_eq!(read, 1, "a record is read whole");
        self.count = count;
        Ok(count)
    }

    /// Reads a record that has `expected` fields.
    pub(crate) fn read_all(&mut self, record: &[u8], expected: usize) -> Result<(), Rejection> {
        let count = self.read(record)?;
        if count != expected {
            let message = format!("{count} fields, and the header has {expected}");
            return Err(Rejection::new(Reason::InvalidCsv, message));
        }
        Ok(())
    }

    /// The fields' texts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<&str, Rejection>> {
        let mut start = 0;
        (1..).zip(&self.ends[..self.count]).map(move |(column, end)| {
            let field = std::str::from_utf8(&self.values[start..*end]);
            start = *end;
            field.map_err(|_| {
                Rejection::new(Reason::InvalidUtf8, format!("column {column} is not UTF-8"))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::records;

    /// The fields of all records, by a reader that takes quotes out of place as text.
    fn read_at_once(content: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut reader = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        let (mut values, mut ends) = (vec![0; 1_000], vec![0; 1_000]);
        let content = [content, b"\n"].concat();
        let (mut input, mut all) = (&content[..], Vec::new());
        loop {
            let (result, read, _, fields) = reader.read_record(input, &mut values, &mut ends);
            input = &input[read..];
            match result {
                ReadRecordResult::Record => {}
                ReadRecordResult::InputEmpty => continue,
                _ => return all,
            }
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let fields =
                starts.zip(&ends[..fields]).map(|(start, end)| values[start..*end].to_vec());
            all.push(fields.collect());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn records_are_those_of_a_reader_of_the_whole_content(
            pieces in vec(select(vec!["a", "\u{feff}", "\"", "\"\"", ",", "\n", "\",", "\n\""]), 0..30),
        ) {
            let content = ["h\n".to_owned(), pieces.concat()].concat().into_bytes();
            let mut fields = Fields::new(b',');
            let mut all = vec![vec![b"h".to_vec()]];
            for record in records(Format::Csv(Delimiter::Comma), &content, 0, 1) {
                if record.text.is_empty() {
                    continue;
                }
                if fields.read(record.text).is_err() {
                    // For that reader, a quote that is not closed or out of place takes what follows.
                    prop_assert!(read_at_once(&content).starts_with(&all));
                    return Ok(());
                }
                all.push(fields.iter().map(|field| field.unwrap().as_bytes().to_vec()).collect());
            }
            prop_assert_eq!(all, read_at_once(&content));
        }
    }

    #[test]
    fn header_that_cannot_name_the_fields_is_explained() {
        let error = |head: &[u8]| detect(head, None).unwrap_err().to_string();
        for (head, message) in [
            (&b"id,name,id\n"[..], "columns 1 and 3 have the same name"),
            (b"id,,name\n", "column 2 has no name"),
            (b"\n1,2\n", "the first line is empty"),
            (b"id,\"name\n1,2\n", "a quote is not closed"),
            (b"id,\xff\n", "column 2 is not UTF-8"),
            (b"id,na\"me\n", "a quote is out of place"),
            (b"id,name\r1,x\r2,y\r", "its lines end with a carriage return alone"),
            (&vec![b'x'; HEAD_BYTES], "it does not end within 65536 bytes"),
        ] {
            let error = error(head);
            assert!(error.starts_with("the header of the CSV is not valid: "), "{error}");
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(detect(b"", None).unwrap().header, "");
        assert_eq!(
            detect(b"\xef\xbb\xbf\"a\"\"\n,\"\r\n1\n", None).unwrap().header,
            "\"a\"\"\n,\""
        );
    }
}
