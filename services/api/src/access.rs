//! Every request: its id, a line in the log, its metrics, and its span where traces are on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use jetline_runtime::telemetry::{Span, SpanKind, TraceContext};
use poem::{
    Endpoint, PathPattern, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method},
};
use tracing::{Level, field};

use crate::series::{Kind, Series};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The route of what is not served.
const UNKNOWN: &str = "unknown";

/// The longest request id that is taken from a caller.
const MAX_ID_CHARS: usize = 128;

/// Numbers the requests that bring no id, and counts all.
pub(crate) struct Requests {
    process: u64,
    next: AtomicU64,
    series: Series,
}

impl Requests {
    /// Ids that start with a number of this process alone.
    pub(crate) fn new(process: u64) -> Self {
        Self {
            process,
            next: AtomicU64::new(1),
            series: Series::default(),
        }
    }

    fn id(&self, request: &Request) -> HeaderValue {
        let brought = request.headers().get(REQUEST_ID);
        if let Some(id) = brought.filter(|id| is_reasonable(id.as_bytes())) {
            return id.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:016x}-{number}", self.process))
            .unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Short, and nothing in it that could break a line of a log.
fn is_reasonable(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=MAX_ID_CHARS).contains(&id.len()) && id.iter().all(allowed)
}

/// Answers a request through an endpoint that turns every error into a response.
pub(crate) async fn observed<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    requests: Arc<Requests>,
) -> Result<Response> {
    let begin = Instant::now();
    let id = requests.id(&request);
    let method = request.method().clone();
    let uri = request.uri().clone();
    let path = uri.path();
    let span = Span::begin(SpanKind::Server, known(&method), caller(&request));
    let trace = span.context();
    let mut response = endpoint.call(request).await?;

    let route = route(&response);
    let status = response.status().as_u16();
    let seconds = begin.elapsed().as_secs_f64();
    end(span, &method, path, &route, status);
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                $level,
                request.id = id.to_str().unwrap_or_default(),
                %method,
                path,
                status,
                duration_ms = (seconds * 1e6).round() / 1e3,
                trace_id = trace.map(|trace| field::display(trace.trace_id())),
                "request answered",
            )
        };
    }
    if is_routine(path, status) {
        log!(Level::DEBUG);
    } else {
        log!(Level::INFO);
    }
    let kind = Kind {
        method: known(&method),
        route,
        status,
    };
    requests.series.count(&kind, seconds);
    response.headers_mut().insert(REQUEST_ID, id);
    Ok(response)
}

/// Whether somebody who watches asks every few seconds, and all is well.
fn is_routine(path: &str, status: u16) -> bool {
    status < 400 && matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// The caller's place in its trace, of which the request is a part then.
fn caller(request: &Request) -> Option<TraceContext> {
    let header = request.headers().get(TraceContext::HEADER)?;
    TraceContext::parse(header.to_str().ok()?)
}

/// Ends the span as OpenTelemetry's conventions for HTTP servers say: an error of the caller's is none of the server's.
fn end(span: Span, method: &Method, path: &str, route: &str, status: u16) {
    if !span.is_kept() {
        return span.end();
    }
    if route != UNKNOWN {
        span.rename(format!("{} {route}", known(method)));
        span.set("http.route", route.to_owned());
    }
    span.set("http.request.method", known(method));
    span.set("http.response.status_code", i64::from(status));
    span.set("url.path", path.to_owned());
    if status < 500 {
        span.end();
    } else {
        span.set("error.type", status.to_string());
        span.fail(String::new());
    }
}

/// The pattern of the path, not the path: every value is another time series.
fn route(response: &Response) -> Arc<str> {
    match response.data::<PathPattern>() {
        Some(pattern) if !pattern.0.is_empty() => pattern.0.clone(),
        _ => UNKNOWN.into(),
    }
}

/// A caller can invent methods, and each would be another time series.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_that_could_break_a_log_is_not_reasonable() {
        assert!(is_reasonable(b"7f3a-22_x.1:2/3+4="));
        for id in [&b""[..], b"a b", b"a\tb", b"a\"b", &[b'a'; 129]] {
            assert!(!is_reasonable(id));
        }
    }

    #[test]
    fn caller_is_known_by_its_header_and_a_malformed_one_is_not_taken() {
        let of = |header: &str| {
            let request = Request::builder().header("traceparent", header);
            caller(&request.finish()).map(|caller| caller.to_string())
        };
        let header = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        assert_eq!(of(header).as_deref(), Some(header));
        assert_eq!(of("00-nonsense"), None);
        assert_eq!(caller(&Request::default()), None);
    }

    #[test]
    fn generated_ids_differ() {
        let requests = Requests::new(7);
        let request = Request::default();
        assert_ne!(requests.id(&request), requests.id(&request));
    }
}
