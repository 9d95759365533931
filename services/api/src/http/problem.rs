//! Errors as `application/problem+json` (RFC 9457).

use poem::{
    Error, IntoResponse, PathPattern, Response,
    error::{MethodNotAllowedError, NotFoundError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    error::ParsePathError,
    payload::Payload,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use crate::database;

/// The content type of all errors.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// `Retry-After` when the database is unavailable or the budget for responses is exhausted.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What went wrong.
#[derive(Clone, Debug, Object, Serialize)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says which kind of problem it is.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What exactly was wrong, and with which parameter.
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        Response::builder()
            .status(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .content_type(PROBLEM_JSON)
            .body(serde_json::to_string(&self).unwrap_or_default())
    }
}

/// A [`Problem`], or one with more fields, as a documented body.
#[derive(Debug)]
pub(crate) struct ProblemJson<T = Problem>(pub(crate) T);

impl ProblemJson {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Problem::new(status, detail))
    }
}

impl<T: Type> Payload for ProblemJson<T> {
    const CONTENT_TYPE: &'static str = PROBLEM_JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for ProblemJson<T> {
    fn into_response(self) -> Response {
        // The status is set by the answer that has this body.
        let body = serde_json::to_string(&self.0).unwrap_or_default();
        Response::builder().content_type(PROBLEM_JSON).body(body)
    }
}

/// The failures that every endpoint may return.
#[derive(ApiResponse)]
#[expect(
    dead_code,
    reason = "some are answered before an endpoint is reached, and documented here"
)]
pub(crate) enum Failure {
    /// A parameter is missing or wrong.
    #[oai(status = 400)]
    BadRequest(ProblemJson),
    /// A user and a password, or an API key, are needed; only where they are configured.
    #[oai(status = 401)]
    Unauthorized(
        ProblemJson,
        /// How to send them: HTTP Basic, or as a bearer token.
        #[oai(header = "WWW-Authenticate")]
        String,
    ),
    /// The user or API key may not do this.
    #[oai(status = 403)]
    Forbidden(ProblemJson),
    /// The request took too long.
    #[oai(status = 408)]
    TooSlow(ProblemJson),
    /// The body is too long.
    #[oai(status = 413)]
    TooLong(ProblemJson),
    /// Too many logins failed, or more requests than `RATE_LIMIT` came from the client.
    #[oai(status = 429)]
    TooMany(
        ProblemJson,
        /// After how many seconds to retry.
        #[oai(header = "Retry-After")]
        u64,
    ),
    /// An error of which the log has the details.
    #[oai(status = 500)]
    Internal(ProblemJson),
    /// The database is not available, or too many passwords are being verified, or too many large answers are being
    /// sent, or too many queries are running.
    #[oai(status = 503)]
    Unavailable(
        ProblemJson,
        /// After how many seconds to retry.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl Failure {
    /// A parameter that cannot be accepted, and why.
    pub(crate) fn parameter(name: &str, reason: &str) -> Self {
        let detail = format!("parameter `{name}` {reason}");
        Self::BadRequest(ProblemJson(Problem::new(StatusCode::BAD_REQUEST, detail)))
    }

    /// A header that cannot be accepted, and why.
    pub(crate) fn header(name: &str, reason: &str) -> Self {
        Self::BadRequest(ProblemJson::new(StatusCode::BAD_REQUEST, format!("{name} {reason}")))
    }

    /// What is not available now; a retry may succeed.
    pub(crate) fn unavailable(detail: String) -> Self {
        let problem = ProblemJson::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        Self::Unavailable(problem, RETRY_AFTER_SECONDS)
    }

    /// A query without rows that can be returned, and why.
    pub(crate) fn query(reason: &str) -> Self {
        let detail =
            format!("the query has no answer, perhaps because of its parameters: {reason}");
        Self::BadRequest(ProblemJson(Problem::new(StatusCode::BAD_REQUEST, detail)))
    }

    pub(crate) fn too_slow(detail: String) -> Self {
        Self::TooSlow(ProblemJson(Problem::new(StatusCode::REQUEST_TIMEOUT, detail)))
    }

    pub(crate) fn forbidden(detail: &str) -> Self {
        Self::Forbidden(ProblemJson(Problem::new(StatusCode::FORBIDDEN, detail)))
    }

    pub(crate) fn internal() -> Self {
        Self::Internal(ProblemJson(internal()))
    }
}

impl From<database::Error> for Failure {
    fn from(error: database::Error) -> Self {
        match error {
            database::Error::Unavailable
            | database::Error::Busy
            | database::Error::TooManyQueries => Self::unavailable(error.to_string()),
            database::Error::Failed => Self::internal(),
        }
    }
}

/// A problem with status 429.
pub(crate) fn too_many(detail: &str, seconds: u64) -> Failure {
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
    Failure::TooMany(ProblemJson(problem), seconds)
}

/// A problem with status 404.
pub(crate) fn not_found(detail: impl Into<String>) -> ProblemJson {
    ProblemJson(Problem::new(StatusCode::NOT_FOUND, detail))
}

/// A problem with status 410.
pub(crate) fn gone(detail: impl Into<String>) -> ProblemJson {
    ProblemJson(Problem::new(StatusCode::GONE, detail))
}

pub(crate) fn internal() -> Problem {
    let detail = "the request failed; see the service's log for its request id";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

/// An error of the framework as a problem, with the route in its data.
pub(crate) fn of_error(error: Error) -> Response {
    let route = error.data::<PathPattern>().cloned();
    let mut response = response(error, route.as_ref());
    if let Some(route) = route {
        response.set_data(route);
    }
    response
}

/// The name of a path parameter. The framework numbers them; they are ids, except for the position of a rejected line.
fn path_parameter(route: Option<&PathPattern>, numbered: &str) -> &'static str {
    let is_reject = route.is_some_and(|route| route.0.starts_with("/rejects/"));
    match (is_reject, numbered) {
        (true, "param0") => "object",
        (true, _) => "line",
        (false, _) => "id",
    }
}

fn response(error: Error, route: Option<&PathPattern>) -> Response {
    if error.is::<MethodNotAllowedError>() {
        // That of a dataset.
        let is_parameter = |path: &str| path.starts_with(':') && !path.contains('/');
        let takes_records = route.is_some_and(|route| is_parameter(route.0.trim_matches('/')));
        let (detail, allowed) = if takes_records {
            ("only GET, HEAD and POST are answered here", "GET, HEAD, POST")
        } else {
            ("only GET and HEAD are answered here", "GET, HEAD")
        };
        let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response();
        let allowed = HeaderValue::from_static(allowed);
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    }
    if error.is::<NotFoundError>() {
        let detail = "there is nothing at this path; /docs lists what there is";
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    }
    if let Some(error) = error.downcast_ref::<ParsePathError>() {
        let name = path_parameter(route, error.name);
        let detail = format!("failed to parse parameter `{name}`: {}", error.reason);
        return Problem::new(StatusCode::BAD_REQUEST, detail).into_response();
    }
    if error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    if status.is_server_error() {
        tracing::error!(%error, "request failed");
        return internal().into_response();
    }
    Problem::new(status, error.to_string()).into_response()
}
