//! A trace collector for tests: receives OTLP over HTTP and keeps the spans.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jetline_testkit::background::Background;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use tokio::net::TcpListener;

/// Serves on 127.0.0.1 until the test ends.
pub(crate) struct Collector {
    background: Background,
    spans: Arc<Mutex<Vec<Seen>>>,
}

/// A received span, and its resource.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) service: String,
    pub(crate) resource: BTreeMap<String, String>,
    /// The request's `authorization` header.
    pub(crate) authorization: String,
    pub(crate) span: Span,
}

impl Seen {
    pub(crate) fn kind(&self) -> SpanKind {
        SpanKind::try_from(self.span.kind).unwrap()
    }

    /// An attribute as text; empty if missing.
    pub(crate) fn attribute(&self, name: &str) -> String {
        texts(&self.span.attributes).remove(name).unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.attribute(name).parse().unwrap()
    }

    pub(crate) fn is_below(&self, parent: &Self) -> bool {
        self.span.trace_id == parent.span.trace_id
            && self.span.parent_span_id == parent.span.span_id
    }

    pub(crate) fn has_failed(&self) -> bool {
        let status = self.span.status.as_ref();
        status.is_some_and(|status| status.code() == StatusCode::Error)
    }

    pub(crate) fn has_event(&self, name: &str) -> bool {
        self.span.events.iter().any(|event| event.name == name)
    }

    pub(crate) fn trace_id(&self) -> String {
        let bytes = self.span.trace_id.as_slice().try_into().unwrap();
        format!("{:032x}", u128::from_be_bytes(bytes))
    }
}

impl Collector {
    pub(crate) fn start() -> Self {
        let spans = Arc::default();
        let received = Arc::clone(&spans);
        let background = Background::start(|listener| serve(listener, received)).unwrap();
        Self { background, spans }
    }

    /// The URL for programs.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.background.address())
    }

    /// All spans received so far.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        self.spans.lock().unwrap().clone()
    }

    /// The spans whose names have this prefix.
    pub(crate) fn named(&self, name: &str) -> Vec<Seen> {
        let mut spans = self.spans();
        spans.retain(|seen| seen.span.name.starts_with(name));
        spans
    }
}

async fn serve(listener: TcpListener, spans: Arc<Mutex<Vec<Seen>>>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let spans = Arc::clone(&spans);
        let service = service_fn(move |request| take(request, Arc::clone(&spans)));
        // A client that disconnects is an error.
        let serving = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
        tokio::spawn(async move { drop(serving.await) });
    }
}

async fn take(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<Seen>>>,
) -> hyper::Result<Response<Full<Bytes>>> {
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let authorization = request.headers().get("authorization");
    let authorization = authorization.map_or("", |value| value.to_str().unwrap());
    let authorization = authorization.to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    for of_resource in export.resource_spans {
        let Resource { attributes, .. } = of_resource.resource.unwrap();
        let resource = texts(&attributes);
        let arrived =
            of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans).map(|span| {
                Seen {
                    service: resource["service.name"].clone(),
                    resource: resource.clone(),
                    authorization: authorization.clone(),
                    span,
                }
            });
        spans.lock().unwrap().extend(arrived);
    }
    Ok(Response::new(Full::default()))
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(whether) => whether.to_string(),
        other => format!("{other:?}"),
    };
    let attributes = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
        (attribute.key.clone(), value.map(text).unwrap_or_default())
    });
    attributes.collect()
}
