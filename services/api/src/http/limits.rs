//! Limits of a single request, and the response after a panic.

use std::{any::Any, sync::Arc, time::Duration};

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{Method, StatusCode},
    middleware::PanicHandler,
};

use crate::http::problem::{self, Problem};

/// The limits of a request.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) body_bytes: u64,
}

/// Handles a request within the limits; a problem says which one was exceeded.
pub(crate) async fn with_limits<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    limits: Limits,
) -> Result<Response> {
    if takes_records(&request) {
        // The intake has limits of its own.
        return endpoint.call(request).await;
    }
    // No other endpoint ever reads a body of unknown length.
    let length = request.header("content-length").unwrap_or("0").parse();
    if length.map_or(true, |length: u64| length > limits.body_bytes) {
        let detail = format!("the body is longer than {} bytes", limits.body_bytes);
        return Ok(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response());
    }
    within(limits, endpoint.call(request)).await.unwrap_or_else(Ok)
}

/// The result of a request; a problem where it takes too long.
pub(crate) async fn within<T>(
    limits: Limits,
    result: impl Future<Output = T>,
) -> std::result::Result<T, Response> {
    tokio::time::timeout(limits.time, result).await.map_err(|_| {
        let detail = format!("the request took longer than {:?}", limits.time);
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
    })
}

/// Whether records are posted to a dataset.
fn takes_records(request: &Request) -> bool {
    let segments = request.uri().path().trim_matches('/');
    request.method() == Method::POST && !segments.is_empty() && !segments.contains('/')
}

/// The response with status 500 after a panic.
#[derive(Clone)]
pub(crate) struct PanicResponse;

impl PanicHandler for PanicResponse {
    type Response = Response;

    fn get_response(&self, _crash: Box<dyn Any + Send + 'static>) -> Response {
        tracing::error!("endpoint panicked");
        problem::internal().into_response()
    }
}

#[cfg(test)]
mod tests {
    use poem::{EndpointExt, endpoint::make, middleware::CatchPanic, test::TestClient};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn request_that_takes_too_long_times_out() {
        let limits = Limits { time: Duration::from_secs(10), body_bytes: 0 };
        let endless = make(|_| std::future::pending::<Response>())
            .map_to_response()
            .around(move |endpoint, request| with_limits(endpoint, request, limits));
        let answer = TestClient::new(endless).get("/").send().await;
        answer.assert_status(StatusCode::REQUEST_TIMEOUT);
        answer.assert_content_type(problem::PROBLEM_JSON);
    }

    #[tokio::test]
    async fn response_after_a_panic_does_not_have_its_message() {
        let crashing = make(async |_| -> Response { panic!("hunter2") })
            .with(CatchPanic::new().with_handler(PanicResponse));
        let answer = TestClient::new(crashing).get("/").send().await;
        answer.assert_status(StatusCode::INTERNAL_SERVER_ERROR);
        let body = answer.0.into_body().into_string().await.unwrap();
        assert!(!body.contains("hunter2"), "{body}");
    }
}
