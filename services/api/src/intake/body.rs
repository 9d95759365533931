//! The records of a request's body: decompressed, validated, and written as JSON Lines.

use std::{io, pin::Pin, time::Duration};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use blake2::{Blake2b, Digest, digest::consts::U32};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use jetline_core::{ObjectId, Position};
use jetline_datasets::{Dataset, DeclaredFormat, Origin, Reason, RedactionKey, Rejection, Row};
use jetline_formats::{
    Detected, HEAD_BYTES, Parser, detect, oversized_record, records,
    split::{Limits, RawChunk, SplitError, Splitter},
};
use poem::{Request, http::header};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::{spool::Spool, write_error::WriteError};

/// The limits of chunks and records, as those of files have by default.
pub(super) const LIMITS: Limits =
    Limits { chunk_bytes: 256 << 10, chunk_lines: 4096, max_line_bytes: 512 << 10 };

/// How many bytes of a body are read at once.
const BLOCK_BYTES: usize = 64 << 10;

/// Binary logarithm of the largest window of Zstandard data, which is held in memory: 8 MiB, as HTTP prescribes.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Maximum number of rejected records that are named.
const MAX_NAMED: usize = 100;

pub(super) type Hash = [u8; 32];

/// A record that is not valid.
#[derive(Clone, Debug)]
pub(super) struct Rejected {
    /// The number of its first line in the body; of JSON, its own number.
    pub(super) line: u32,
    pub(super) rejection: Rejection,
}

/// What was found in a body.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    /// The number of valid records.
    pub(super) accepted: u32,
    /// The number of the others.
    pub(super) rejected: u64,
    /// The first of them.
    pub(super) named: Vec<Rejected>,
    /// The hash of the decompressed body.
    pub(super) hash: Hash,
}

/// Why a body cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error(
        "the content type must be application/json, application/x-ndjson, application/jsonl or text/csv"
    )]
    UnknownType,
    #[error("the content encoding must be gzip, zstd or identity")]
    UnknownEncoding,
    #[error("the body is longer than {0} bytes, decompressed (INTAKE_MAX_BYTES)")]
    TooLong(u64),
    #[error("no byte of the body came for {0:?}")]
    Stalled(Duration),
    #[error("the body cannot be read: {0}")]
    Unreadable(String),
    #[error("the body is not what its type says: {0}")]
    NotOfItsType(String),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A body that is being read.
pub(super) struct BodyReader {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// The name of a file of the same type.
    name: &'static str,
    max_bytes: u64,
    idle_timeout: Duration,
    read: u64,
    /// Blocks are cut from it, so that short ones do not take as much memory as long ones.
    buffer: BytesMut,
    hash: Blake2b<U32>,
}

impl BodyReader {
    /// Reads the body of a request: up to `max_bytes`, decompressed. Each part of it must come within `idle_timeout`.
    pub(super) fn new(
        request: &Request,
        body: poem::Body,
        max_bytes: u64,
        idle_timeout: Duration,
    ) -> Result<Self, BodyError> {
        let name = file_name(request.header(header::CONTENT_TYPE).unwrap_or_default())?;
        let encoding = request.header(header::CONTENT_ENCODING).unwrap_or("identity").trim();
        let body = BufReader::with_capacity(BLOCK_BYTES, body.into_async_read());
        let reader: Pin<Box<dyn AsyncRead + Send>> = match &*encoding.to_ascii_lowercase() {
            "identity" | "" => Box::pin(body),
            "gzip" | "x-gzip" => {
                let mut decoder = GzipDecoder::new(body);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            "zstd" => {
                use async_compression::zstd::DParameter;
                let window = [DParameter::window_log_max(ZSTD_WINDOW_LOG)];
                let mut decoder = ZstdDecoder::with_params(body, &window);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            _ => return Err(BodyError::UnknownEncoding),
        };
        let hash = Blake2b::new();
        let buffer = BytesMut::new();
        Ok(Self { reader, name, max_bytes, idle_timeout, read: 0, buffer, hash })
    }

    /// Reads to the end, and returns the hash.
    pub(super) async fn hash(mut self) -> Result<Hash, BodyError> {
        while self.block().await?.is_some() {}
        Ok(self.hash.finalize().into())
    }

    /// Validates all records; the valid ones go into the spool, each as a line of JSON, redacted with the key.
    pub(super) async fn records(
        mut self,
        dataset: &Dataset,
        redaction: Option<&RedactionKey>,
        spool: &mut Spool,
    ) -> Result<Summary, BodyError> {
        let (head, detected) = self.detect().await?;
        let mut validator = Validator::new(dataset, redaction, &detected);
        let mut splitter = Splitter::new(detected.format, LIMITS, 0, 1);
        splitter.push(head);
        loop {
            spool_chunks(&mut splitter, &mut validator, spool).await?;
            // Records may be longer as JSON than they were.
            if spool.bytes() > self.max_bytes {
                return Err(BodyError::TooLong(self.max_bytes));
            }
            let Some(block) = self.block().await? else { break };
            splitter.push(block);
        }
        splitter.finish();
        spool_chunks(&mut splitter, &mut validator, spool).await?;
        Ok(Summary { hash: self.hash.finalize().into(), ..validator.summary })
    }

    /// The first bytes, and what they are.
    async fn detect(&mut self) -> Result<(Bytes, Detected), BodyError> {
        let mut head = BytesMut::new();
        while head.len() < HEAD_BYTES {
            match self.block().await? {
                Some(block) => head.extend_from_slice(&block),
                None => break,
            }
        }
        let detected = detect(self.name, &head, DeclaredFormat::Auto);
        let detected = detected.map_err(|error| BodyError::NotOfItsType(error.to_string()))?;
        Ok((head.freeze(), detected))
    }

    /// The next bytes; none at the end.
    async fn block(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(BLOCK_BYTES);
        }
        let read = self.reader.read_buf(&mut self.buffer);
        let read = tokio::time::timeout(self.idle_timeout, read).await;
        let read = read.map_err(|_| BodyError::Stalled(self.idle_timeout))?;
        let bytes = read.map_err(|error: io::Error| BodyError::Unreadable(error.to_string()))?;
        self.read += bytes as u64;
        if self.read > self.max_bytes {
            return Err(BodyError::TooLong(self.max_bytes));
        }
        let block = self.buffer.split().freeze();
        self.hash.update(&block);
        Ok(Some(block).filter(|_| bytes > 0))
    }
}

/// Writes the records of all chunks whose ends are certain.
async fn spool_chunks(
    splitter: &mut Splitter,
    validator: &mut Validator<'_>,
    spool: &mut Spool,
) -> Result<(), BodyError> {
    let not_of_its_type = |error: SplitError| BodyError::NotOfItsType(error.to_string());
    while let Some(chunk) = splitter.next_chunk().map_err(not_of_its_type)? {
        validator.validate(&chunk, spool.lines());
        spool.flush_if_long().await?;
    }
    Ok(())
}

/// Validates records and counts them.
struct Validator<'d> {
    dataset: &'d Dataset,
    redaction: Option<&'d RedactionKey>,
    format: jetline_formats::Format,
    parser: Parser<'d>,
    summary: Summary,
}

impl<'d> Validator<'d> {
    fn new(dataset: &'d Dataset, redaction: Option<&'d RedactionKey>, detected: &Detected) -> Self {
        let parser = Parser::new(detected.format, &detected.header, dataset);
        let summary = Summary::default();
        Self { dataset, redaction, format: detected.format, parser, summary }
    }

    /// Appends the valid records of a chunk to the lines.
    fn validate(&mut self, chunk: &RawChunk, lines: &mut Vec<u8>) {
        if chunk.oversized {
            let RawChunk { start, end, first_line, .. } = *chunk;
            if oversized_record(self.format, &chunk.body, start, end).is_some() {
                self.reject(first_line, too_long(end - start));
            }
            return;
        }
        let records = records(self.format, &chunk.body, chunk.start, chunk.first_line);
        let modified_at = Utc::now();
        for record in records.filter(|record| !record.text.is_empty()) {
            let position = Position::new(ObjectId::default(), record.line);
            let begin = lines.len();
            let row = self.parser.parse(record.text, Origin { position, modified_at });
            match row.and_then(|row| self.write(row, lines)) {
                Ok(()) => self.summary.accepted += 1,
                Err(rejection) => {
                    lines.truncate(begin);
                    self.reject(record.line, rejection);
                }
            }
        }
    }

    fn write(&self, row: Row, lines: &mut Vec<u8>) -> Result<(), Rejection> {
        let begin = lines.len();
        let row = match self.redaction {
            Some(key) => self.dataset.redact(row, key),
            None => row,
        };
        let written = self.dataset.write_record(&row, lines);
        written.map_err(|error| Rejection::new(Reason::InvalidJson, error.to_string()))?;
        let bytes = lines.len() - begin;
        lines.push(b'\n');
        if bytes > LIMITS.max_line_bytes { Err(too_long(bytes as u64)) } else { Ok(()) }
    }

    fn reject(&mut self, line: u32, rejection: Rejection) {
        self.summary.rejected += 1;
        if self.summary.named.len() < MAX_NAMED {
            self.summary.named.push(Rejected { line, rejection });
        }
    }
}

fn too_long(bytes: u64) -> Rejection {
    let most = LIMITS.max_line_bytes;
    let message = format!("the record has {bytes} bytes, more than {most}");
    Rejection::new(Reason::LineTooLong, message)
}

/// The name of a file of a type.
fn file_name(content_type: &str) -> Result<&'static str, BodyError> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match &*media_type.to_ascii_lowercase() {
        "application/json" => Ok("body.json"),
        "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok("body.jsonl")
        }
        "text/csv" => Ok("body.csv"),
        _ => Err(BodyError::UnknownType),
    }
}
