//! Lines that were not taken.

use base64::{Engine, prelude::BASE64_STANDARD};
use jetline_store::read::rejects::{self, Cursor, Reject};
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;

use crate::{
    answers::{Answers, PART_BYTES},
    database::Reads,
    json::{SerdeJson, written},
    paging::{Listing, Page, default_limit},
    problem::{Failure, ProblemJson, not_found},
    sections::Sections,
};

/// What a line may take while it is answered, as a multiple of its bytes: as bytes, as text, and as JSON, where a control
/// character is six.
const TIMES: usize = 8;

/// Serves the rejected lines.
pub(crate) struct RejectApi {
    pub(crate) reads: Reads,
    pub(crate) answers: Answers,
}

/// A line that was not taken, and why.
#[derive(Object, Serialize)]
#[oai(rename = "Reject")]
struct View {
    /// The number of its object.
    object_id: i64,
    /// Its number in the object, from 1.
    line: i64,
    /// Where it starts: bytes of the decompressed object.
    offset: i64,
    /// A code that does not change, such as `invalid_json`.
    reason: String,
    /// What was wrong, in words that may change; 1 KiB of them at most.
    message: String,
    /// The line as it was; the beginning of it where it was too long, and in a list, which shows 4 KiB. Bytes that are not
    /// UTF-8 are replaced.
    raw: String,
    /// The bytes of `raw` in Base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
    /// `true` where `raw` is cut: `/rejects/{object}/{line}` has more.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_truncated: Option<bool>,
}

#[derive(ApiResponse)]
enum GetReject {
    /// The rejected line, whole.
    #[oai(status = 200)]
    Found(SerdeJson<View>),
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
        /// Only those of the object with this number.
        object: Query<Option<i64>>,
        /// Only those behind this place: `OBJECT.LINE`.
        #[oai(validator(pattern = r"^[0-9]{1,18}\.[0-9]{1,18}$"))]
        after: Query<Option<String>>,
        /// How many at most.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<u64>,
    ) -> Result<Page<View>, Failure> {
        let after = after.0.as_deref().map(cursor).transpose()?;
        let memory = self.answers.reserve(PART_BYTES).await?;
        let db = self.reads.connection();
        let statement = rejects::list(db, object.0, after, limit.0, PART_BYTES);
        let page = self.reads.ask(statement).await?;
        let object = object.0.map(|id| ("object", id.to_string()));
        let listing = Listing {
            path: "/rejects",
            filter: object.into_iter().collect(),
            limit: limit.0,
            entries: page.rejects.into_iter().map(View::from).collect(),
            goes_on: page.goes_on,
        };
        listing.page(memory, |reject| {
            format!("{}.{}", reject.object_id, reject.line)
        })
    }

    /// One rejected line, whole.
    #[oai(
        path = "/rejects/:object/:line",
        method = "get",
        operation_id = "get_reject"
    )]
    async fn get(
        &self,
        /// The number of its object.
        object: Path<i64>,
        /// Its number in the object.
        line: Path<i64>,
    ) -> Result<GetReject, Failure> {
        let at = Cursor {
            object_id: object.0,
            line: line.0,
        };
        let db = self.reads.connection();
        let Some(mut reject) = self.reads.ask(rejects::find(db, at)).await? else {
            let detail = format!("no line {} of object {} was rejected", line.0, object.0);
            return Ok(GetReject::NotFound(not_found(detail)));
        };
        let bytes = usize::try_from(reject.raw_bytes).unwrap_or(usize::MAX);
        let memory = self.answers.reserve(bytes.saturating_mul(TIMES)).await?;
        if reject.is_cut()
            && let Some(raw) = self.reads.ask(rejects::raw(db, at)).await?
        {
            reject.raw = raw;
        }
        let body = written(|| serde_json::to_vec(&View::from(reject)))?;
        Ok(GetReject::Found(SerdeJson::written(memory.fill(body)?)))
    }
}

fn cursor(text: &str) -> Result<Cursor, Failure> {
    let parts = text.split_once('.').and_then(|(object, line)| {
        Some(Cursor {
            object_id: object.parse().ok()?,
            line: line.parse().ok()?,
        })
    });
    parts.ok_or_else(|| {
        Failure::parameter("after", "is an object's number and a line's, as in 3.17")
    })
}

impl From<Reject> for View {
    fn from(mut reject: Reject) -> Self {
        let is_cut = reject.is_cut();
        if is_cut {
            reject.raw.truncate(whole_characters(&reject.raw));
        }
        let (raw, raw_base64) = match String::from_utf8(reject.raw) {
            Ok(text) => (text, None),
            Err(error) => {
                let bytes = error.as_bytes();
                let text = String::from_utf8_lossy(bytes).into_owned();
                (text, Some(BASE64_STANDARD.encode(bytes)))
            }
        };
        Self {
            object_id: reject.object_id,
            line: reject.line,
            offset: reject.byte_offset,
            reason: reject.reason,
            message: reject.message,
            raw,
            raw_base64,
            raw_truncated: is_cut.then_some(true),
        }
    }
}

/// How much of a text that was cut is left when the character is left out that it was cut in, if in one.
fn whole_characters(cut: &[u8]) -> usize {
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => cut.len(),
    }
}
