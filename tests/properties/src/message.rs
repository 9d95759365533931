//! Messages of a stream from any publisher, and their chunks.

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Result, Unstructured};
use async_nats::{HeaderMap, HeaderName, HeaderValue, Message};
use bytes::Bytes;
use chrono::DateTime;
use jetline_core::ObjectId;
use jetline_datasets::Datasets;
use jetline_formats::{Format, records};
use jetline_queue::{Chunk, message};
use jetline_runtime::telemetry::TraceContext;
use jetline_writer::parse;

/// A message is parsed as a chunk or refused with a reason; a chunk survives the round trip; and the lines of every chunk
/// are all counted.
///
/// The input is used twice: as the text of a message (headers, an empty line and a body), and as the fields of a chunk.
pub fn holds(input: &[u8]) {
    let (headers, body) = text(input);
    match message::chunk(received(headers, body)) {
        Ok(chunk) => {
            lines_add_up(&chunk);
            comes_back(&chunk);
        }
        Err(error) => assert!(error.to_string().contains("Jetline-"), "{error}"),
    }
    if let Ok(chunk) = chunk(&mut Unstructured::new(input)) {
        comes_back(&chunk);
    }
}

fn text(input: &[u8]) -> (HeaderMap, Bytes) {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let headers = String::from_utf8_lossy(head);
    let headers = headers.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        let value: HeaderValue = value.trim().parse().ok()?;
        Some((name, value))
    });
    (headers.collect(), Bytes::copy_from_slice(body))
}

fn chunk(input: &mut Unstructured) -> Result<Chunk> {
    let mut name = || -> Result<String> {
        let length = usize::from(u8::arbitrary(input)? % 20);
        let name = input.bytes(length.min(input.len()))?;
        Ok(String::from_utf8_lossy(name).into_owned())
    };
    let (incarnation, dataset, read_attempt) = (name()?, name()?, name()?);
    let format = Format::ALL[usize::from(u8::arbitrary(input)?) % Format::ALL.len()];
    let header: &[u8] = if matches!(format, Format::Csv(_)) { b"id,title,price" } else { b"" };
    let object = |number: i32| ObjectId::new(number.into()).unwrap_or_default();
    Ok(Chunk {
        incarnation,
        dataset,
        declaration: i64::from(input.arbitrary::<u32>()?),
        format,
        header: Bytes::from_static(header),
        read_attempt,
        object: object(input.arbitrary()?),
        settled: object(input.arbitrary()?),
        modified_at: input.arbitrary::<Option<i64>>()?.and_then(DateTime::from_timestamp_micros),
        is_redacted: input.arbitrary()?,
        start: input.arbitrary()?,
        end: input.arbitrary()?,
        first_line: input.arbitrary()?,
        lines: input.arbitrary()?,
        oversized: input.arbitrary()?,
        trace: trace(input)?,
        body: Bytes::copy_from_slice(input.bytes(input.len())?),
    })
}

fn trace(input: &mut Unstructured) -> Result<Option<TraceContext>> {
    let (trace, span, flags): (u128, u64, u8) = input.arbitrary()?;
    let header = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
    Ok(TraceContext::parse(&header))
}

/// Only for valid chunks: a message of another publisher may have any dataset name.
fn comes_back(chunk: &Chunk) {
    if message::check(chunk, usize::MAX).is_err() {
        return;
    }
    let headers = message::headers(chunk);
    travels(&headers);
    let subject = message::subject("JETLINE", chunk);
    assert_eq!(subject.split('.').count(), 4, "{subject}");
    let again = message::chunk(received(headers, message::payload(chunk.clone())));
    let again = again.expect("it is a chunk");
    assert_eq!(&again, chunk);
    lines_add_up(&again);
}

/// Header values are trimmed in transit, and all fit the size limit.
fn travels(headers: &HeaderMap) {
    let mut bytes = "NATS/1.0\r\n\r\n".len();
    for (name, values) in headers.iter() {
        let [value] = &values[..] else {
            panic!("{name} occurs twice");
        };
        let value = value.as_str();
        assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{value}");
        bytes += name.to_string().len() + value.len() + ": \r\n".len();
    }
    assert!(bytes <= message::MAX_HEADER_BYTES);
}

fn lines_add_up(chunk: &Chunk) {
    let datasets = Datasets::built_in().expect("the declaration is valid");
    let dataset = datasets.get("products").expect("it is a dataset");
    let parsed = parse::parse(chunk, dataset, None, &BTreeMap::new());
    let kept = parsed.records.len() + parsed.rejected.len();
    let accounted = (kept + parsed.superseded.len()) as u64 + parsed.blank;
    let records = records(chunk.format, &chunk.body, chunk.start, chunk.first_line);
    let lines = records.map(|record| u64::from(record.lines)).sum();
    assert_eq!(accounted, if chunk.oversized { 1 } else { lines });
    for line in &parsed.rejected {
        let behind = line.offset + line.raw.len() as u64;
        let end = chunk.start + chunk.body.len() as u64;
        assert!(line.offset >= chunk.start && behind <= end);
    }
}

fn received(headers: HeaderMap, payload: Bytes) -> Message {
    Message {
        subject: "JETLINE.chunks.products.7".into(),
        reply: None,
        payload,
        headers: Some(headers),
        status: None,
        description: None,
        length: 0,
    }
}
