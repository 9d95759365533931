//! The steps that chunks take together, in the traces of all of them.
//!
//! One transaction commits chunks of several traces, which are sampled one by one. So that each trace is whole, a step is
//! a span in every one of them, of the same time, and the spans are linked to the other chunks.

use jetline_queue::Chunk;
use jetline_runtime::telemetry::{Span, SpanKind, TraceContext, Value};

/// One step of some chunks.
pub(crate) struct Stage(Vec<Span>);

impl Stage {
    /// Begins a step below the span that each chunk carries.
    pub(crate) fn begin<'a>(
        kind: &SpanKind,
        name: &'static str,
        chunks: impl Iterator<Item = &'a Chunk>,
    ) -> Self {
        let above: Vec<TraceContext> = chunks.filter_map(|chunk| chunk.trace).collect();
        let spans = above.iter().map(|parent| {
            let span = Span::begin(kind.clone(), name, Some(*parent));
            for other in above.iter().filter(|other| *other != parent) {
                span.link(*other);
            }
            span.set("jetline.group.chunks", count(above.len()));
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

    /// Ends it as its result says.
    pub(crate) fn end_with<T, E: std::error::Error>(self, result: &Result<T, E>) {
        for span in self.0 {
            span.end_with(result);
        }
    }
}

pub(crate) fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
