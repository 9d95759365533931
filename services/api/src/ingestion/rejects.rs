//! The endpoints of rejected lines.

use base64::{Engine, prelude::BASE64_STANDARD};
use jetline_store::catalog::rejects::{Cursor, Filter, Reject, text};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;

use crate::{
    auth::Caller,
    database::ReadPool,
    http::{
        json::{self, SerdeJson},
        paging::{Listing, Page, default_limit},
        problem::{Failure, ProblemJson, not_found},
        response_budget::{PART_BYTES, ResponseBudget},
    },
    ingestion::Sections,
};

/// Memory of a line in a response, as a multiple of its bytes: as bytes, as text, and as JSON, where a control
/// character has six bytes.
const COPIES_PER_LINE: usize = 8;

/// Serves the rejected lines.
pub(crate) struct RejectApi {
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
}

/// A rejected line, and why it was rejected.
#[derive(Object, Serialize)]
#[oai(rename = "RejectedLine")]
struct RejectView {
    /// The number of its object.
    object: i64,
    /// Its number in the object, from 1.
    line: i64,
    /// Where it starts: bytes of the decompressed object.
    offset: i64,
    /// A code that does not change, such as `invalid_json`.
    reason: String,
    /// A description of the error, which may change; 1 KiB at most.
    message: String,
    /// The line as it was; the beginning of it where it was too long, and in a list, which shows 4 KiB. Bytes that are
    /// not UTF-8 are replaced.
    raw: String,
    /// The bytes of `raw` in Base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    /// `true` where `raw` is truncated: `/rejects/{object}/{line}` has more.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_truncated: Option<bool>,
}

#[derive(ApiResponse)]
enum GetReject {
    /// The rejected line, whole.
    #[oai(status = 200)]
    Found(SerdeJson<RejectView>),
    /// No line with this number was rejected.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi(tag = "Sections::Ingestion")]
impl RejectApi {
    /// The rejected lines, in the order of object and line.
    #[oai(path = "/rejects", method = "get", operation_id = "list_rejects")]
    async fn list(
        &self,
        caller: Data<&Caller>,
        /// Only those of the object with this number.
        object: Query<Option<i64>>,
        /// Only those after this position: `OBJECT.LINE`.
        #[oai(validator(pattern = r"^[0-9]{1,18}\.[0-9]{1,18}$"))]
        after: Query<Option<String>>,
        /// How many at most.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
    ) -> Result<Page<RejectView>, Failure> {
        let after = after.0.as_deref().map(cursor).transpose()?;
        let memory = self.budget.reserve(PART_BYTES).await?;
        let filter = Filter { datasets: caller.datasets(), object: object.0, reason: None };
        let statement = self.pool.catalog().rejects(&filter, after, limit.0, PART_BYTES);
        let page = self.pool.run(statement).await?;
        let object = object.0.map(|id| ("object", id.to_string()));
        let listing = Listing {
            filter: object.into_iter().collect(),
            limit: limit.0,
            entries: page.rejects.into_iter().map(RejectView::from).collect(),
            has_more: page.has_more,
        };
        listing.page(memory, |reject| format!("{}.{}", reject.object, reject.line))
    }

    /// One rejected line, whole.
    #[oai(path = "/rejects/:object/:line", method = "get", operation_id = "get_reject")]
    async fn get(
        &self,
        caller: Data<&Caller>,
        /// The number of its object.
        object: Path<i64>,
        /// Its number in the object.
        line: Path<i64>,
    ) -> Result<GetReject, Failure> {
        let at = Cursor { object_id: object.0, line: line.0 };
        let catalog = self.pool.catalog();
        let found = self.pool.run(catalog.reject(at, caller.datasets().as_deref())).await?;
        let Some(mut reject) = found else {
            let detail = format!("no line {} of object {} was rejected", line.0, object.0);
            return Ok(GetReject::NotFound(not_found(detail)));
        };
        let bytes = usize::try_from(reject.raw_bytes).unwrap_or(usize::MAX);
        let memory = self.budget.reserve(bytes.saturating_mul(COPIES_PER_LINE)).await?;
        if reject.is_truncated()
            && let Some(raw) = self.pool.run(catalog.rejected_bytes(at)).await?
        {
            reject.raw = raw;
        }
        let body = json::text(&RejectView::from(reject))?;
        Ok(GetReject::Found(SerdeJson::serialized(memory.fill(body)?)))
    }
}

fn cursor(text: &str) -> Result<Cursor, Failure> {
    let parts = text.split_once('.').and_then(|(object, line)| {
        Some(Cursor { object_id: object.parse().ok()?, line: line.parse().ok()? })
    });
    parts.ok_or_else(|| {
        Failure::parameter("after", "is an object's number and a line's, as in 3.17")
    })
}

impl From<Reject> for RejectView {
    fn from(mut reject: Reject) -> Self {
        let is_truncated = reject.is_truncated();
        if is_truncated {
            reject.raw.truncate(whole_characters(&reject.raw));
        }
        let (raw, bytes) = text(reject.raw);
        Self {
            object: reject.object_id,
            line: reject.line,
            offset: reject.byte_offset,
            reason: reject.reason,
            message: reject.message,
            raw,
            raw_base64: bytes.map(|bytes| BASE64_STANDARD.encode(bytes)),
            raw_truncated: is_truncated.then_some(true),
        }
    }
}

/// The length of a truncated text without an incomplete character at its end.
fn whole_characters(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => text.len(),
    }
}
