//! Spans of the steps that the chunks of a batch take together.
//!
//! One transaction commits chunks of several traces, each sampled on its own. So that every trace is complete, a step
//! is a span in each of them, with the same times, and each span is linked to those of the other chunks.

use jetline_queue::Chunk;
use jetline_runtime::telemetry::{Span, SpanKind, TraceContext, Value};

/// One step of a batch: a span in the trace of each of its chunks.
pub(crate) struct BatchSpan(Vec<Span>);

impl BatchSpan {
    /// Begins a span below the one that each chunk carries.
    pub(crate) fn begin<'a>(
        kind: &SpanKind,
        name: &'static str,
        chunks: impl Iterator<Item = &'a Chunk>,
    ) -> Self {
        let parents: Vec<TraceContext> = chunks.filter_map(|chunk| chunk.trace).collect();
        let spans = parents.iter().map(|parent| {
            let span = Span::begin(kind.clone(), name, Some(*parent));
            for other in parents.iter().filter(|other| *other != parent) {
                span.link(*other);
            }
            span.set("jetline.batch.chunks", saturating_i64(parents.len()));
            span
        });
        Self(spans.collect())
    }

    /// Sets an attribute.
    pub(crate) fn set(&self, name: &'static str, value: impl Into<Value>) {
        let value = value.into();
        for span in &self.0 {
            span.set(name, value.clone());
        }
    }

    /// Ends the spans with the status of a result.
    pub(crate) fn end_with<T, E: std::error::Error>(self, result: &Result<T, E>) {
        for span in self.0 {
            span.end_with(result);
        }
    }
}

pub(crate) fn saturating_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
