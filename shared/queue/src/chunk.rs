//! The unit of queueing and of commit.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use jetline_core::{ChunkRange, ObjectId};
use jetline_formats::Format;
use jetline_runtime::telemetry::TraceContext;

/// A run of whole records of one object version, identified by (object, start).
///
/// Offsets are bytes of the decompressed object and fit 63 bits; line numbers have 32 bits. An oversized record is a chunk of
/// its own, with a shortened body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The object version.
    pub object: ObjectId,
    /// The incarnation of the object in the ledger, a random token: distinguishes it from an object of the same number in a
    /// database that was restored, and from the object before a replay.
    pub incarnation: String,
    /// The dataset of its lines.
    pub dataset: String,
    /// The number of the declaration by which they are parsed.
    pub declaration: i64,
    /// The format of the object.
    pub format: Format,
    /// The header of the object, if the format is CSV.
    pub header: Bytes,
    /// When the object was last modified; not known of chunks that an earlier version published.
    pub modified_at: Option<DateTime<Utc>>,
    /// Whether the values of redacted columns were redacted before the object was written.
    pub is_redacted: bool,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
    /// Number of the first line in the object, from 1.
    pub first_line: u32,
    /// How many lines it spans, blank ones included.
    pub lines: u32,
    /// Whether this is one oversized record, of which the body holds only the beginning.
    pub oversized: bool,
    /// The settled watermark at publication: every object below it was settled.
    pub settled: ObjectId,
    /// Identifies one read of the object by one fetcher: a chunk of another read is not a duplicate publication.
    pub read_attempt: String,
    /// The context of the span that published it, if traces are on.
    pub trace: Option<TraceContext>,
    /// The records with all that is between them.
    pub body: Bytes,
}

impl Chunk {
    /// Identifies the chunk in the ledger.
    #[must_use]
    pub fn range(&self) -> ChunkRange {
        ChunkRange {
            object: self.object,
            incarnation: self.incarnation.clone(),
            start: self.start,
            end: self.end,
            first_line: self.first_line,
            lines: self.lines,
        }
    }

    /// The bytes that are sent: header and body.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.header.len() + self.body.len()
    }

    /// An upper bound of the lines of the body. `lines` may be wrong, and a line has at least one byte.
    #[must_use]
    pub fn max_lines(&self) -> usize {
        (self.lines as usize).min(self.body.len())
    }

    /// A log span with the chunk and its trace.
    #[must_use]
    pub fn log_span(&self) -> tracing::Span {
        // At error level, so that no level filter disables it: only the events inside have a level of their own.
        tracing::error_span!(
            "chunk",
            object = self.object.get(),
            chunk.start = self.start,
            trace_id = self.trace.map(|trace| tracing::field::display(trace.trace_id())),
        )
    }
}
