//! Spans for operations that belong to several traces at once and cross processes.
//!
//! They are created directly instead of with `tracing`: a span may begin before its chunk is known, and a step that several
//! chunks share is a span in the trace of each. While traces are off, spans record nothing.

use std::{
    borrow::Cow,
    error::Error,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedSpan},
    trace::{
        Span as _, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
        Tracer as _,
    },
};
pub use opentelemetry::{Value, trace::SpanKind};

use super::TraceContext;

/// The instrumentation scope.
const SCOPE: &str = "jetline";

/// An open span.
///
/// A span that is dropped instead of ended, by a shutdown for instance, is marked as failed.
#[must_use]
#[derive(Debug)]
pub struct Span {
    open: Mutex<BoxedSpan>,
    is_ended: bool,
}

impl Span {
    /// Begins a span with `parent`, or the root of a trace.
    pub fn begin(
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<TraceContext>,
    ) -> Self {
        Self::begin_at(kind, name, parent, SystemTime::now())
    }

    /// Begins a span with an earlier start time.
    pub fn begin_at(
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<TraceContext>,
        begin: SystemTime,
    ) -> Self {
        let tracer = global::tracer(SCOPE);
        let builder = tracer.span_builder(name).with_kind(kind).with_start_time(begin);
        let above = Context::new();
        let above = match parent {
            Some(parent) => above.with_remote_span_context(parent.into()),
            None => above,
        };
        Self { open: Mutex::new(builder.start_with_context(&tracer, &above)), is_ended: false }
    }

    /// Its context; `None` while traces are off, unless its parent is remote.
    #[must_use]
    pub fn context(&self) -> Option<TraceContext> {
        let span = self.open();
        let context = span.span_context();
        context.is_valid().then(|| TraceContext {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        })
    }

    /// Whether it records attributes: not while traces are off or if it is not sampled.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.open().is_recording()
    }

    /// Sets an attribute.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        self.open().set_attribute(KeyValue::new(name, value));
    }

    /// Changes the name, if it is known only at the end.
    pub fn rename(&self, name: impl Into<Cow<'static, str>>) {
        self.open().update_name(name);
    }

    /// Adds a link to a span of another trace.
    pub fn link(&self, to: TraceContext) {
        self.open().add_link(to.into(), Vec::new());
    }

    /// Adds an event at the current time.
    pub fn event<const N: usize>(
        &self,
        name: &'static str,
        attributes: [(&'static str, Value); N],
    ) {
        let attributes = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
        self.open().add_event(name, attributes.collect());
    }

    /// Ends it.
    pub fn end(mut self) {
        self.is_ended = true;
    }

    /// Ends it with an error status.
    pub fn fail(mut self, reason: impl Into<Cow<'static, str>>) {
        self.is_ended = true;
        self.open().set_status(Status::error(reason));
    }

    /// Ends it with the status of a result.
    pub fn end_with<T, E: Error>(self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.end(),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn open(&self) -> MutexGuard<'_, BoxedSpan> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if !self.is_ended {
            self.open().set_status(Status::error("cancelled"));
        }
    }
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        let flags = if context.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        Self::new(
            TraceId::from_bytes(context.trace.to_be_bytes()),
            SpanId::from_bytes(context.span.to_be_bytes()),
            flags,
            true,
            TraceState::default(),
        )
    }
}
