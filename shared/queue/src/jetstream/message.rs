//! A chunk as a NATS message: the payload is the records, behind the header of CSV; everything else is in headers.

use std::{fmt::Display, str::FromStr};

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use jetline_core::{LedgerIdentity, ObjectId};
use jetline_formats::Format;
use jetline_runtime::telemetry::TraceContext;

use crate::{Chunk, Error};

const OBJECT: &str = "Jetline-Object";
const INCARNATION: &str = "Jetline-Registration";
/// The dataset, and the number of the declaration. Writers of before look for another header and refuse the message: they would
/// parse the lines by the declaration that they were compiled with.
const DECLARATION: &str = "Jetline-Declaration";
/// The format of the object. Missing for JSON Lines.
const FORMAT: &str = "Jetline-Format";
/// How many bytes of the payload are the header of CSV.
const HEADER_BYTES: &str = "Jetline-Header-Bytes";
/// When the object was last modified, in microseconds since 1970. Missing in messages of earlier versions.
const MODIFIED_AT: &str = "Jetline-Modified-At";
/// Present only if the object's values are redacted.
const REDACTED: &str = "Jetline-Redacted";
const START: &str = "Jetline-Start";
const END: &str = "Jetline-End";
const FIRST_LINE: &str = "Jetline-First-Line";
const LINES: &str = "Jetline-Lines";
const SETTLED: &str = "Jetline-Settled";
const READ_ATTEMPT: &str = "Jetline-Reading";
/// Present only if the chunk is one oversized line.
const OVERSIZED: &str = "Jetline-Oversized";

/// The ledger of the chunk. Missing in messages of earlier versions.
const LEDGER: &str = "Jetline-Ledger";

/// How many bytes of a message's size limit are reserved for headers.
pub const MAX_HEADER_BYTES: usize = 4096;

/// Whether a name is valid as a token of a subject and as the value of a header.
pub(super) fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.len() <= 255 && name.bytes().all(allowed)
}

/// Checks that a chunk can be sent as a message.
pub fn check(chunk: &Chunk, max_body_bytes: usize) -> Result<(), String> {
    let bytes = chunk.payload_bytes();
    if bytes > max_body_bytes {
        return Err(format!(
            "its body of {bytes} bytes exceeds the server's max_payload: lower CHUNK_BYTES"
        ));
    }
    for (what, name) in [
        ("dataset", &chunk.dataset),
        ("read attempt", &chunk.read_attempt),
        ("incarnation", &chunk.incarnation),
    ] {
        if !is_token(name) {
            return Err(format!("its {what} is `{name}`: letters, digits, `-` and `_` only"));
        }
    }
    check_range(chunk)
}

/// Checks that the ledger can store a chunk's range: ordered offsets of 63 bits, and line numbers from 1 to `u32::MAX`.
fn check_range(chunk: &Chunk) -> Result<(), String> {
    let Chunk { start, end, .. } = chunk;
    if start > end || i64::try_from(*end).is_err() {
        return Err(format!("{START} is {start} and {END} is {end}"));
    }
    let (first, lines) = (chunk.first_line, chunk.lines);
    // The line after the last one needs no number.
    if first == 0 || u64::from(first) + u64::from(lines) > u64::from(u32::MAX) + 1 {
        return Err(format!("{FIRST_LINE} is {first} and {LINES} is {lines}"));
    }
    Ok(())
}

/// The subject of all chunks in a stream.
pub(super) fn every_subject(stream: &str) -> String {
    format!("{stream}.chunks.>")
}

/// The subject of a chunk.
pub fn subject(stream: &str, chunk: &Chunk) -> String {
    format!("{stream}.chunks.{}.{}", chunk.dataset, chunk.object)
}

/// The subjects of an object's chunks.
pub(super) fn subjects_of(stream: &str, object: ObjectId) -> String {
    format!("{stream}.chunks.*.{object}")
}

/// The object of a subject.
pub(super) fn object_of(subject: &str) -> Option<ObjectId> {
    let (_, object) = subject.rsplit_once('.')?;
    ObjectId::new(object.parse().ok()?)
}

/// The headers of a chunk.
pub fn headers(chunk: &Chunk) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // The stream deduplicates by this id: a retried publication, but not another read of the object.
    let id = format!("{}:{}:{}", chunk.object, chunk.start, chunk.read_attempt);
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
    headers.insert(OBJECT, chunk.object.to_string());
    headers.insert(INCARNATION, chunk.incarnation.as_str());
    headers.insert(DECLARATION, format!("{}/{}", chunk.dataset, chunk.declaration));
    if chunk.format != Format::JsonLines {
        headers.insert(FORMAT, chunk.format.name());
        headers.insert(HEADER_BYTES, chunk.header.len().to_string());
    }
    if let Some(modified_at) = chunk.modified_at {
        headers.insert(MODIFIED_AT, modified_at.timestamp_micros().to_string());
    }
    if chunk.is_redacted {
        headers.insert(REDACTED, "true");
    }
    headers.insert(START, chunk.start.to_string());
    headers.insert(END, chunk.end.to_string());
    headers.insert(FIRST_LINE, chunk.first_line.to_string());
    headers.insert(LINES, chunk.lines.to_string());
    headers.insert(SETTLED, chunk.settled.to_string());
    headers.insert(READ_ATTEMPT, chunk.read_attempt.as_str());
    if chunk.oversized {
        headers.insert(OVERSIZED, "true");
    }
    if let Some(trace) = chunk.trace {
        headers.insert(TraceContext::HEADER, trace.to_string());
    }
    headers
}

/// The payload of a chunk.
#[must_use]
pub fn payload(chunk: Chunk) -> Bytes {
    if chunk.header.is_empty() {
        return chunk.body;
    }
    let mut payload = BytesMut::with_capacity(chunk.payload_bytes());
    payload.extend_from_slice(&chunk.header);
    payload.extend_from_slice(&chunk.body);
    payload.freeze()
}

/// Sets the header with the ledger of the chunk.
pub(super) fn set_ledger(headers: &mut HeaderMap, ledger: &LedgerIdentity) {
    headers.insert(LEDGER, ledger.to_string());
}

/// The ledger of the chunk in a message, if the header is present.
pub(super) fn ledger(message: &async_nats::Message) -> Option<LedgerIdentity> {
    message.headers.as_ref()?.get(LEDGER)?.as_str().parse().ok()
}

/// The chunk in a message.
pub fn chunk(message: async_nats::Message) -> Result<Chunk, Error> {
    let headers = Headers { subject: &message.subject, map: message.headers.as_ref() };
    let (dataset, declaration) = headers.declaration()?;
    let (format, header_bytes) = headers.format()?;
    let mut body = message.payload;
    if header_bytes > body.len() {
        return Err(headers.malformed(format!("{HEADER_BYTES} is {header_bytes}")));
    }
    let header = body.split_to(header_bytes);
    let chunk = Chunk {
        object: headers.object(OBJECT)?,
        incarnation: headers.text(INCARNATION)?.to_owned(),
        dataset: dataset.to_owned(),
        declaration,
        format,
        header,
        modified_at: headers.modified_at()?,
        is_redacted: headers.get(REDACTED) == Some("true"),
        start: headers.parsed(START)?,
        end: headers.parsed(END)?,
        first_line: headers.parsed(FIRST_LINE)?,
        lines: headers.parsed(LINES)?,
        oversized: headers.get(OVERSIZED) == Some("true"),
        settled: headers.object(SETTLED)?,
        read_attempt: headers.text(READ_ATTEMPT)?.to_owned(),
        trace: headers.get(TraceContext::HEADER).and_then(TraceContext::parse),
        body,
    };
    check_range(&chunk).map_err(|reason| headers.malformed(reason))?;
    Ok(chunk)
}

struct Headers<'a> {
    subject: &'a str,
    map: Option<&'a HeaderMap>,
}

impl<'a> Headers<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        Some(self.map?.get(name)?.as_str())
    }

    fn text(&self, name: &str) -> Result<&'a str, Error> {
        self.get(name).ok_or_else(|| self.malformed(format!("{name} is missing")))
    }

    fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Error> {
        let text = self.text(name)?;
        text.parse().map_err(|error| self.malformed(format!("{name} is `{text}`: {error}")))
    }

    fn declaration(&self) -> Result<(&'a str, i64), Error> {
        let text = self.text(DECLARATION)?;
        let parts = text.split_once('/');
        parts
            .and_then(|(dataset, number)| Some((dataset, number.parse().ok()?)))
            .ok_or_else(|| self.malformed(format!("{DECLARATION} is `{text}`")))
    }

    /// The format, and the number of bytes of the header of CSV.
    fn format(&self) -> Result<(Format, usize), Error> {
        let Some(name) = self.get(FORMAT) else {
            return Ok((Format::JsonLines, 0));
        };
        let format = name.parse().map_err(|error| self.malformed(format!("{FORMAT}: {error}")))?;
        Ok((format, self.parsed(HEADER_BYTES)?))
    }

    fn modified_at(&self) -> Result<Option<DateTime<Utc>>, Error> {
        if self.get(MODIFIED_AT).is_none() {
            return Ok(None);
        }
        let micros = self.parsed(MODIFIED_AT)?;
        let time = DateTime::from_timestamp_micros(micros);
        time.map(Some).ok_or_else(|| self.malformed(format!("{MODIFIED_AT} is {micros}")))
    }

    fn object(&self, name: &str) -> Result<ObjectId, Error> {
        let number = self.parsed(name)?;
        ObjectId::new(number).ok_or_else(|| {
            self.malformed(format!("{name} is {number}, which is not an object number"))
        })
    }

    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { subject: self.subject.to_owned(), reason }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";

    /// The last offset that the ledger can hold.
    const LAST: u64 = i64::MAX as u64;

    fn example() -> Chunk {
        Chunk {
            object: ObjectId::MAX,
            dataset: "d".repeat(255),
            declaration: i64::MAX,
            format: Format::JsonLines,
            header: Bytes::new(),
            modified_at: DateTime::from_timestamp_micros(-1),
            is_redacted: true,
            start: LAST - 1,
            end: LAST,
            first_line: u32::MAX,
            lines: 1,
            oversized: true,
            settled: ObjectId::MAX,
            incarnation: "g".repeat(255),
            read_attempt: "r".repeat(255),
            trace: TraceContext::parse(TRACE),
            body: Bytes::from_static(b"{}\n"),
        }
    }

    fn message(headers: Option<HeaderMap>) -> async_nats::Message {
        async_nats::Message {
            subject: "JETLINE.chunks.products.7".into(),
            reply: None,
            payload: Bytes::from_static(b"{}\n"),
            headers,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn chunk_survives_the_round_trip() {
        let chunk = example();
        assert_eq!(super::chunk(message(Some(headers(&chunk)))).unwrap(), chunk);
        let chunk =
            Chunk { oversized: false, trace: None, modified_at: None, is_redacted: false, ..chunk };
        assert_eq!(super::chunk(message(Some(headers(&chunk)))).unwrap(), chunk);
        for format in Format::ALL {
            let header = if format.name().starts_with("csv") { "id" } else { "" };
            let chunk = Chunk { format, header: header.into(), ..chunk.clone() };
            let sent = async_nats::Message {
                payload: payload(chunk.clone()),
                ..message(Some(headers(&chunk)))
            };
            assert_eq!(super::chunk(sent).unwrap(), chunk);
        }
    }

    #[test]
    fn traceparent_header_is_set_only_with_a_trace() {
        let mut chunk = example();
        let header = |chunk: &Chunk| Some(headers(chunk).get("traceparent")?.to_string());
        assert_eq!(header(&chunk).as_deref(), Some(TRACE));
        chunk.trace = None;
        assert_eq!(header(&chunk), None);
    }

    #[test]
    fn malformed_trace_is_ignored() {
        let chunk = example();
        let mut headers = headers(&chunk);
        headers.insert(TraceContext::HEADER, "00-nonsense");
        let received = super::chunk(message(Some(headers))).unwrap();
        assert_eq!(received, Chunk { trace: None, ..chunk });
    }

    #[test]
    fn longest_headers_fit_the_reserved_size() {
        let mut headers = headers(&example());
        let database = "d".repeat(255);
        set_ledger(&mut headers, &LedgerIdentity::new(&"f".repeat(32), &database));
        let bytes: usize = headers
            .iter()
            .map(|(name, values)| name.to_string().len() + values[0].as_str().len() + 4)
            .sum();
        assert!(bytes + "NATS/1.0\r\n\r\n".len() <= MAX_HEADER_BYTES, "{bytes}");
    }

    #[test]
    fn chunk_that_does_not_fit_a_message_is_refused_before_it_is_sent() {
        type Change = fn(&mut Chunk);
        assert_eq!(check(&example(), 3), Ok(()));
        let changes: [(Change, &str); 4] = [
            (|chunk| chunk.incarnation = "a\r\nb".into(), "incarnation"),
            (|chunk| chunk.dataset.clear(), "dataset"),
            (|chunk| chunk.read_attempt.push('.'), "read attempt"),
            (|chunk| chunk.end = 0, "Jetline-End is 0"),
        ];
        for (change, words) in changes {
            let mut chunk = example();
            change(&mut chunk);
            let reason = check(&chunk, 3).unwrap_err();
            assert!(reason.contains(words), "{reason}");
        }
        assert!(check(&example(), 2).unwrap_err().contains("max_payload"));
    }

    #[test]
    fn malformed_message_is_explained() {
        let mut wrong = headers(&example());
        wrong.insert(LINES, "many");
        let mut unnumbered = headers(&example());
        unnumbered.insert(DECLARATION, "products");
        let csv = Chunk { format: Format::ALL[3], ..example() };
        let mut unknown = headers(&csv);
        unknown.insert(FORMAT, "xml");
        let mut too_long = headers(&csv);
        too_long.insert(HEADER_BYTES, "4");
        let mut timeless = headers(&example());
        timeless.insert(MODIFIED_AT, i64::MAX.to_string());
        let mut beyond = headers(&example());
        beyond.insert(OBJECT, "-1");
        let with = |change: fn(&mut Chunk)| {
            let mut chunk = example();
            change(&mut chunk);
            Some(headers(&chunk))
        };
        for (headers, reason) in [
            (with(|chunk| chunk.start = LAST + 1), "Jetline-Start is"),
            (with(|chunk| chunk.end = LAST + 1), "Jetline-End is"),
            (with(|chunk| chunk.first_line = 0), "First-Line is 0"),
            (with(|chunk| chunk.lines = 2), "Jetline-Lines is 2"),
            (None, "Jetline-Declaration is missing"),
            (Some(unknown), "Jetline-Format: there is no format \"xml\""),
            (Some(too_long), "Jetline-Header-Bytes is 4"),
            (Some(unnumbered), "Jetline-Declaration is `products`"),
            (Some(timeless), "Jetline-Modified-At is 9223372036854775807"),
            (Some(wrong), "Jetline-Lines is `many`: invalid digit"),
            (Some(beyond), "Jetline-Object is -1, which is not an object number"),
        ] {
            let error = chunk(message(headers)).unwrap_err().to_string();
            assert!(error.contains("JETLINE.chunks.products.7"), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }
}
