//! Errors as `application/problem+json` (RFC 9457).

use poem::{
    Error, IntoResponse, PathPattern, Response,
    error::{MethodNotAllowedError, NotFoundError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    ApiResponse, Object,
    error::{ParseParamError, ParsePathError},
    payload::Payload,
    registry::{MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use crate::{database, http::context};

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
    /// The id of the request: that of the header `X-Request-Id`, and of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            request_id: context::request_id(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        Response::builder()
            .status(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .content_type(PROBLEM_JSON)
            .body(text(&self))
    }
}

fn text(problem: &impl Serialize) -> String {
    let mut text = serde_json::to_string(problem).unwrap_or_default();
    text.push('\n');
    text
}

/// A [`Problem`], or one with more fields, as a documented body.
#[derive(Debug)]
pub(crate) struct ProblemJson<T = Problem>(Box<T>);

impl ProblemJson {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::of(Problem::new(status, detail))
    }
}

impl<T> ProblemJson<T> {
    pub(crate) fn of(problem: T) -> Self {
        Self(Box::new(problem))
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
        Response::builder().content_type(PROBLEM_JSON).body(text(&self.0))
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
        Self::BadRequest(ProblemJson::new(StatusCode::BAD_REQUEST, detail))
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
        Self::BadRequest(ProblemJson::new(StatusCode::BAD_REQUEST, detail))
    }

    pub(crate) fn too_slow(detail: String) -> Self {
        Self::TooSlow(ProblemJson::new(StatusCode::REQUEST_TIMEOUT, detail))
    }

    pub(crate) fn forbidden(detail: &str) -> Self {
        Self::Forbidden(ProblemJson::new(StatusCode::FORBIDDEN, detail))
    }

    pub(crate) fn internal() -> Self {
        Self::Internal(ProblemJson::of(internal()))
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
    Failure::TooMany(ProblemJson::of(problem), seconds)
}

/// A problem with status 404.
pub(crate) fn not_found(detail: impl Into<String>) -> ProblemJson {
    ProblemJson::new(StatusCode::NOT_FOUND, detail)
}

/// A problem with status 410.
pub(crate) fn gone(detail: impl Into<String>) -> ProblemJson {
    ProblemJson::new(StatusCode::GONE, detail)
}

pub(crate) fn internal() -> Problem {
    let detail = "the request failed; see the service's log for its request id";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

/// The values of an enumeration, by the name of its type; none of another type.
type EnumValues = fn(&str) -> Vec<String>;

/// An error of the framework as a problem, with the route in its data.
pub(crate) fn of_error(error: Error, values: EnumValues) -> Response {
    let route = error.data::<PathPattern>().cloned();
    let mut response = response(error, route.as_ref(), values);
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

/// A parameter that the framework refuses. It names the types of this program, and no values of an enumeration.
fn invalid(parameter: &str, reason: &str, values: EnumValues) -> Problem {
    let type_name =
        reason.strip_prefix("failed to parse \"").and_then(|rest| rest.split('"').next());
    let values = type_name.map(values).filter(|values| !values.is_empty());
    let detail = match (type_name, values) {
        (_, Some(values)) => format!("must be one of {}", values.join(", ")),
        (Some(name), _) if name.starts_with("integer") => "must be a whole number".to_owned(),
        _ => {
            reason.strip_prefix("verification failed. ").and_then(rule).unwrap_or(reason.to_owned())
        }
    };
    Problem::new(StatusCode::BAD_REQUEST, format!("parameter `{parameter}` {detail}"))
}

/// What a rule of the framework says, such as `minimum(1, exclusive: false)`.
fn rule(text: &str) -> Option<String> {
    let (name, rest) = text.split_once('(')?;
    let limit = || rest.split([',', ')']).next();
    Some(match name {
        "minimum" => format!("must be at least {}", limit()?),
        "maximum" => format!("must be at most {}", limit()?),
        "pattern" => {
            let pattern = rest.strip_suffix(')')?.trim_matches('"').replace("\\\\", "\\");
            format!("must be as the pattern {pattern} says")
        }
        _ => return None,
    })
}

fn response(error: Error, route: Option<&PathPattern>, values: EnumValues) -> Response {
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
        return invalid(path_parameter(route, error.name), &error.reason, values).into_response();
    }
    if let Some(error) = error.downcast_ref::<ParseParamError>() {
        return invalid(error.name, &error.reason, values).into_response();
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
