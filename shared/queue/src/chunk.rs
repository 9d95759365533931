//! The unit of queueing and of commit.

use bytes::Bytes;
use jetline_records::ObjectId;
use jetline_runtime::telemetry::TraceContext;

/// A run of whole lines of one object version, identified by (object, start).
///
/// Offsets are bytes of the decompressed object, and fit 63 bits; lines have numbers of 32 bits. A line beyond the limit
/// is a chunk of its own, whose body is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The object version.
    pub object: ObjectId,
    /// The object's registration in the ledger: tells it from another object of the same number in a database that was
    /// restored.
    pub registration: String,
    /// The dataset that its lines belong to.
    pub dataset: String,
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte.
    pub end: u64,
    /// Number of the first line in the object, from 1.
    pub first_line: u32,
    /// How many lines it spans, blank ones included.
    pub lines: u32,
    /// Whether this is one line beyond the limit, of which the body holds only the beginning.
    pub oversized: bool,
    /// Every object below this one was settled when the chunk was published.
    pub settled: ObjectId,
    /// One reading of an object by one fetcher: another reading is another publication, not a repetition.
    pub reading: String,
    /// The span that published it, where traces are on.
    pub trace: Option<TraceContext>,
    /// The lines themselves.
    pub body: Bytes,
}

impl Chunk {
    /// What every line logged inside says: which chunk it is about, and in which trace that is.
    #[must_use]
    pub fn log_span(&self) -> tracing::Span {
        // Of the level that every filter of levels passes: it is the lines inside that have one.
        tracing::error_span!(
            "chunk",
            object = %self.object,
            chunk.start = self.start,
            trace_id = self.trace.map(|trace| tracing::field::display(trace.trace_id())),
        )
    }
}
