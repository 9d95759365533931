//! What all pages have in common, and answers with pages.

use askama::Template;
use poem::{
    IntoResponse, Request, Response,
    http::{StatusCode, header},
};

use super::AtRoot;
use crate::{
    auth::{Caller, Role},
    database,
};

/// The sections, with their paths below `/`.
pub(super) const SECTIONS: [(&str, &str); 4] = [
    ("Overview", ""),
    ("Objects", "-/objects"),
    ("Datasets", "-/datasets"),
    ("Deliveries", "-/deliveries"),
];

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What surrounds the content of a page.
#[derive(Clone)]
pub(super) struct Frame {
    /// The relative path to `/`: the page works below any prefix.
    pub(super) root: String,
    /// The number of segments of the path before the last one.
    pub(super) depth: usize,
    /// The section of the page.
    pub(super) section: &'static str,
    pub(super) user: Option<String>,
    pub(super) role: &'static str,
    /// Whether the caller may change something, and this api can.
    pub(super) may_act: bool,
}

impl Frame {
    pub(super) fn new(
        request: &Request,
        caller: &Caller,
        section: &'static str,
        can_act: bool,
    ) -> Self {
        let segments = request.uri().path().matches('/').count();
        let is_root = request.data::<AtRoot>().is_some();
        let depth = if is_root { 0 } else { segments.saturating_sub(1) };
        Self {
            root: root(depth),
            depth,
            section,
            user: caller.name.clone(),
            role: caller.rights.role.name(),
            may_act: can_act && caller.rights.role == Role::Admin,
        }
    }

    /// The answer with a page, or with one that says why there is none.
    pub(super) fn answer(&self, page: Result<String, PageError>) -> Response {
        match page {
            Ok(page) => html(StatusCode::OK, page),
            Err(error) => {
                let failed =
                    Failed { frame: self.clone(), title: error.title(), detail: error.to_string() };
                match failed.render() {
                    Ok(page) => html(error.status(), page),
                    Err(_) => error.status().into_response(),
                }
            }
        }
    }
}

/// The relative path to `/` from a path with so many segments before the last one.
pub(super) fn root(depth: usize) -> String {
    if depth == 0 { "./".to_owned() } else { "../".repeat(depth) }
}

/// Nothing from elsewhere is loaded, and nothing in a text can be a script.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

fn html(status: StatusCode, page: String) -> Response {
    Response::builder()
        .status(status)
        .content_type("text/html; charset=utf-8")
        .header(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::REFERRER_POLICY, "same-origin")
        .header(header::CACHE_CONTROL, "private, no-cache")
        .body(page)
}

#[derive(Template)]
#[template(path = "failed.html")]
struct Failed {
    frame: Frame,
    title: &'static str,
    detail: String,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    #[error("There is no {0}.")]
    NotFound(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Forbidden(String),
    #[error("Not available now, try again: {0}.")]
    Unavailable(String),
    #[error("The log of the service has the details.")]
    Internal,
}

impl PageError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "Not found",
            Self::BadRequest(_) => "Not possible",
            Self::Forbidden(_) => "Not allowed",
            Self::Unavailable(_) => "Not available",
            Self::Internal => "Failed",
        }
    }
}

impl From<database::Error> for PageError {
    fn from(error: database::Error) -> Self {
        match error {
            database::Error::Failed => Self::Internal,
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> Self {
        tracing::error!(error = jetline_runtime::causes(&error), "render page failed");
        Self::Internal
    }
}
