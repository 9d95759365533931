//! The two ends of a queue in a trace, as OpenTelemetry's conventions for messaging name them: a chunk's publication
//! begins its trace, and each of its deliveries stands below that.

use std::time::SystemTime;

use jetline_runtime::telemetry::{Span, SpanKind};

use crate::{Chunk, Delivery};

/// What traces call a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The kind of queue.
    pub system: &'static str,
    /// Its name.
    pub name: String,
}

impl Destination {
    /// Begins the trace of a chunk, at the time when reading towards it began; over when the queue has taken the chunk,
    /// which has to carry the span's context.
    pub fn publishing(&self, chunk: &Chunk, begin: SystemTime) -> Span {
        let name = format!("publish {}", self.name);
        let span = Span::begin_at(SpanKind::Producer, name, None, begin);
        span.set("messaging.operation.name", "publish");
        span.set("messaging.operation.type", "send");
        self.describe(&span, chunk);
        span
    }

    /// Begins the processing of a delivery, which is over with its acknowledgement.
    pub fn processing(&self, delivery: &Delivery) -> Span {
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
        let bytes = chunk.body.len() as u64;
        span.set("messaging.message.body.size", bytes.cast_signed());
        span.set("jetline.dataset", chunk.dataset.clone());
        span.set("jetline.object", chunk.object.get());
        span.set("jetline.chunk.start", chunk.start.cast_signed());
        span.set("jetline.chunk.lines", i64::from(chunk.lines));
    }
}
