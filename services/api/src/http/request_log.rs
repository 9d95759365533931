//! The id, the log message, the metrics and the span of every request.

use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use ipnet::IpNet;
use jetline_runtime::telemetry::{Span, SpanKind, TraceContext};
use poem::{
    Endpoint, PathPattern, Request, Response, Result,
    http::{HeaderName, HeaderValue, Method},
};
use tracing::{Level, field};

use crate::http::{
    body,
    context::{self, CONTEXT, Context},
    series::{Kind, Series},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// The route of requests to unknown paths.
const UNKNOWN: &str = "unknown";

/// Maximum length of a request id that is accepted from a client.
const MAX_ID_CHARS: usize = 128;

/// Generates ids for requests without one, and counts all requests.
pub(crate) struct Requests {
    process: u64,
    next: AtomicU64,
    series: Series,
    trusted_proxies: Vec<IpNet>,
}

impl Requests {
    /// `process` is random, and a prefix of all generated ids.
    pub(crate) fn new(process: u64, trusted_proxies: Vec<IpNet>) -> Self {
        Self { process, next: AtomicU64::new(1), series: Series::default(), trusted_proxies }
    }

    fn id(&self, request: &Request) -> HeaderValue {
        let given = request.headers().get(REQUEST_ID);
        if let Some(id) = given.filter(|id| is_valid(id.as_bytes())) {
            return id.clone();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:016x}-{number}", self.process))
            .unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Whether a request id is short, and has no characters that could corrupt a log.
fn is_valid(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=MAX_ID_CHARS).contains(&id.len()) && id.iter().all(allowed)
}

/// Handles a request, logs and counts it. The endpoint turns every error into a response.
pub(crate) async fn with_log<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    requests: Arc<Requests>,
) -> Result<Response> {
    let begin = Instant::now();
    let id = requests.id(&request);
    let method = request.method().clone();
    let uri = request.uri().clone();
    let path = uri.path();
    let span = Span::begin(SpanKind::Server, method_name(&method), caller(&request));
    let trace = span.context();
    let client = context::client_behind(&request, &requests.trusted_proxies);
    let context = Context { id: id.clone(), client, user: OnceLock::new() };
    let answered = CONTEXT.scope(context, async {
        let response = endpoint.call(request).await;
        let user = CONTEXT.with(|context| context.user.get().cloned());
        response.map(|response| (response, user))
    });
    let (mut response, user) = answered.await?;

    let route = route(&response);
    let status = response.status().as_u16();
    let bytes = body::length(&mut response);
    let seconds = begin.elapsed().as_secs_f64();
    end(span, &method, path, &route, status);
    macro_rules! log {
        ($level:expr) => {
            tracing::event!(
                $level,
                request.id = id.to_str().unwrap_or_default(),
                client = client.map(field::display),
                user,
                %method,
                path,
                status,
                bytes,
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
    let kind = Kind { method: method_name(&method), route, status };
    requests.series.count(&kind, seconds);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    // The time of a refusal may tell what was checked.
    if status < 400
        && let Ok(timing) = HeaderValue::try_from(format!("total;dur={:.3}", seconds * 1e3))
    {
        headers.insert(SERVER_TIMING, timing);
    }
    Ok(response)
}

/// Whether it is a successful request of monitoring, which come every few seconds.
fn is_routine(path: &str, status: u16) -> bool {
    status < 400 && matches!(path, "/healthz" | "/readyz" | "/metrics")
}

/// The trace context of the caller.
fn caller(request: &Request) -> Option<TraceContext> {
    let header = request.headers().get(TraceContext::HEADER)?;
    TraceContext::parse(header.to_str().ok()?)
}

/// Ends the span by OpenTelemetry's conventions for HTTP servers: client errors are not errors of the span.
fn end(span: Span, method: &Method, path: &str, route: &str, status: u16) {
    if !span.is_kept() {
        return span.end();
    }
    if route != UNKNOWN {
        span.rename(format!("{} {route}", method_name(method)));
        span.set("http.route", route.to_owned());
    }
    span.set("http.request.method", method_name(method));
    span.set("http.response.status_code", i64::from(status));
    span.set("url.path", path.to_owned());
    if status < 500 {
        span.end();
    } else {
        span.set("error.type", status.to_string());
        span.fail(String::new());
    }
}

/// The pattern of the path instead of the path: every value is a time series of its own.
fn route(response: &Response) -> Cow<'static, str> {
    let Some(pattern) = response.data::<PathPattern>() else {
        return UNKNOWN.into();
    };
    // The framework numbers the parameters.
    match &*pattern.0 {
        "" => UNKNOWN.into(),
        "/:param0" => "/:dataset".into(),
        "/:param0/:param1" => "/:dataset/:id".into(),
        "/:param0/:param1/origin" => "/:dataset/:id/origin".into(),
        other => other.to_owned().into(),
    }
}

/// The name of a standard method. Clients may send any method, and each would be a time series of its own.
fn method_name(method: &Method) -> &'static str {
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
    fn id_that_could_corrupt_a_log_is_not_valid() {
        assert!(is_valid(b"7f3a-22_x.1:2/3+4="));
        for id in [&b""[..], b"a b", b"a\tb", b"a\"b", &[b'a'; 129]] {
            assert!(!is_valid(id));
        }
    }

    #[test]
    fn trace_context_of_the_caller_is_parsed_and_a_malformed_one_ignored() {
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
        let requests = Requests::new(7, Vec::new());
        let request = Request::default();
        assert_ne!(requests.id(&request), requests.id(&request));
    }
}
