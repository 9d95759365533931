//! Producer and consumer spans, after OpenTelemetry's semantic conventions for messaging: the publication of a chunk is
//! the root of its trace, and the parent of the span of each delivery.

use std::time::SystemTime;

use jetline_runtime::telemetry::{Span, SpanKind};

use crate::{Chunk, ReceivedChunk};

/// The name of a queue in traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDestination {
    /// The messaging system.
    pub system: &'static str,
    /// Its name.
    pub name: String,
}

impl QueueDestination {
    /// Begins the trace of a chunk, at the time when reading its bytes began. The span ends with the acknowledgement; the
    /// chunk must carry its context.
    pub fn publishing(&self, chunk: &Chunk, begin: SystemTime) -> Span {
        let name = format!("publish {}", self.name);
        let span = Span::begin_at(SpanKind::Producer, name, None, begin);
        span.set("messaging.operation.name", "publish");
        span.set("messaging.operation.type", "send");
        self.describe(&span, chunk);
        span
    }

    /// Begins the span of processing a delivery, which ends with its acknowledgement.
    pub fn processing(&self, delivery: &ReceivedChunk) -> Span {
        let name = format!("process {}", self.name);
        let span = Span::begin(SpanKind::Consumer, name, delivery.chunk.trace);
        span.set("messaging.operation.name", "process");
        span.set("messaging.operation.type", "process");
        self.describe(&span, &delivery.chunk);
        span.set("jetline.delivery.attempt", delivery.attempt.cast_signed());
        span
    }

    fn describe(&self, span: &Span, chunk: &Chunk) {
        span.set("messaging.system", self.system);
        span.set("messaging.destination.name", self.name.clone());
        let bytes = chunk.payload_bytes() as u64;
        span.set("messaging.message.body.size", bytes.cast_signed());
        span.set("jetline.dataset", chunk.dataset.clone());
        span.set("jetline.object", chunk.object.get());
        span.set("jetline.chunk.start", chunk.start.cast_signed());
        span.set("jetline.chunk.lines", i64::from(chunk.lines));
    }
}
