//! Spans of traces, for what goes on in several traces at once and across processes.
//!
//! They are made by hand rather than from those of `tracing`: a span here may begin before it is known what it is
//! about, and a step that several chunks share is a span in the trace of each. While traces are off, nothing is kept.

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

/// What the spans are by: all of them are ours.
const SCOPE: &str = "jetline";

/// A part of a trace that is not over.
///
/// One that is dropped instead of ended was given up, by a shutdown for instance, and is marked as failed.
#[must_use]
#[derive(Debug)]
pub struct Span {
    open: Mutex<BoxedSpan>,
    is_ended: bool,
}

impl Span {
    /// Begins a span below `parent`, or a trace.
    pub fn begin(
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<TraceContext>,
    ) -> Self {
        Self::begin_at(kind, name, parent, SystemTime::now())
    }

    /// Begins a span that goes back to an earlier time.
    pub fn begin_at(
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
        parent: Option<TraceContext>,
        begin: SystemTime,
    ) -> Self {
        let tracer = global::tracer(SCOPE);
        let builder = tracer
            .span_builder(name)
            .with_kind(kind)
            .with_start_time(begin);
        let above = Context::new();
        let above = match parent {
            Some(parent) => above.with_remote_span_context(parent.into()),
            None => above,
        };
        Self {
            open: Mutex::new(builder.start_with_context(&tracer, &above)),
            is_ended: false,
        }
    }

    /// Where it stands; nothing while traces are off, unless its parent came from elsewhere.
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

    /// Whether anybody will see what is set on it: not while traces are off, or where it is not sampled.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.open().is_recording()
    }

    /// Sets an attribute.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        self.open().set_attribute(KeyValue::new(name, value));
    }

    /// Changes the name, for what is only known at the end.
    pub fn rename(&self, name: impl Into<Cow<'static, str>>) {
        self.open().update_name(name);
    }

    /// Points to a span of another trace.
    pub fn link(&self, to: TraceContext) {
        self.open().add_link(to.into(), Vec::new());
    }

    /// Notes what happened at this moment.
    pub fn event<const N: usize>(
        &self,
        name: &'static str,
        attributes: [(&'static str, Value); N],
    ) {
        let attributes = attributes
            .into_iter()
            .map(|(name, value)| KeyValue::new(name, value));
        self.open().add_event(name, attributes.collect());
    }

    /// Ends it.
    pub fn end(mut self) {
        self.is_ended = true;
    }

    /// Ends it as something that failed.
    pub fn fail(mut self, reason: impl Into<Cow<'static, str>>) {
        self.is_ended = true;
        self.open().set_status(Status::error(reason));
    }

    /// Ends it as its result says.
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
            self.open().set_status(Status::error("given up"));
        }
    }
}

impl From<TraceContext> for SpanContext {
    fn from(context: TraceContext) -> Self {
        let flags = if context.sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        Self::new(
            TraceId::from_bytes(context.trace.to_be_bytes()),
            SpanId::from_bytes(context.span.to_be_bytes()),
            flags,
            true,
            TraceState::default(),
        )
    }
}
