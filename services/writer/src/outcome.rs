//! What became of chunks, in spans and metrics.

use jetline_core::{ChunkRange, Counts};
use jetline_runtime::{
    metrics::{CHUNKS_COMMITTED, COMMITTED_BYTES, LINES, REJECTS},
    telemetry::Span,
};
use jetline_store::RejectedLine;

/// What became of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChunkResult {
    Committed(Counts),
    /// It was committed before.
    AlreadyCommitted,
    /// It is stale or dead, or its declaration is not known.
    Discarded,
    /// It is suspected of having crashed its writers too often.
    Dead,
}

impl ChunkResult {
    /// Sets the attributes of a span.
    pub(crate) fn record(&self, span: &Span) {
        let name = match self {
            Self::Committed(_) => "committed",
            Self::AlreadyCommitted => "repeated",
            Self::Discarded => "discarded",
            Self::Dead => "dead",
        };
        span.set("jetline.outcome", name);
        let Self::Committed(counts) = self else {
            return;
        };
        for (name, lines) in [
            ("jetline.lines.inserted", counts.inserted),
            ("jetline.lines.updated", counts.updated),
            ("jetline.lines.deleted", counts.deleted),
            ("jetline.lines.unchanged", counts.unchanged),
            ("jetline.lines.superseded", counts.superseded),
            ("jetline.lines.rejected", counts.rejected),
        ] {
            span.set(name, lines.cast_signed());
        }
    }
}

/// Counts a committed chunk.
pub(crate) fn count_chunk(
    dataset: &str,
    chunk: &ChunkRange,
    rejected: &[RejectedLine],
    counts: &Counts,
) {
    metrics::counter!(CHUNKS_COMMITTED).increment(1);
    metrics::counter!(COMMITTED_BYTES).increment(chunk.end - chunk.start);
    count_lines(dataset, counts);
    for line in rejected {
        let reason = line.rejection.reason.code();
        metrics::counter!(REJECTS, "dataset" => dataset.to_owned(), "reason" => reason)
            .increment(1);
    }
}

/// Adds the outcomes of a dataset's lines to the counters; zeros create them.
pub(crate) fn count_lines(dataset: &str, counts: &Counts) {
    for (outcome, lines) in [
        ("inserted", counts.inserted),
        ("updated", counts.updated),
        ("deleted", counts.deleted),
        ("unchanged", counts.unchanged),
        ("superseded", counts.superseded),
        ("rejected", counts.rejected),
    ] {
        metrics::counter!(LINES, "dataset" => dataset.to_owned(), "outcome" => outcome)
            .increment(lines);
    }
}
