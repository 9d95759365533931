//! HTTP: bodies, errors, limits, conditional requests, paging, and the log of requests.

pub(crate) mod body;
pub(crate) mod compression;
pub(crate) mod context;
pub(crate) mod entity_tag;
pub(crate) mod head;
pub(crate) mod json;
pub(crate) mod limits;
pub(crate) mod paging;
pub(crate) mod path;
pub(crate) mod problem;
pub(crate) mod rate_limit;
pub(crate) mod request_log;
pub(crate) mod response_budget;
mod series;
