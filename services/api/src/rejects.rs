//! Lines that were not taken.

use base64::{Engine, prelude::BASE64_STANDARD};
use jetline_store::{
    entities::rejected_lines::Model,
    read::rejects::{self, Cursor},
};
use poem_openapi::{Object, OpenApi, param::Query};
use serde::Serialize;

use crate::{
    database::Reads,
    paging::{Listing, Page, default_limit},
    problem::Failure,
    sections::Sections,
};

/// Serves the rejected lines.
pub(crate) struct RejectApi {
    pub(crate) reads: Reads,
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
    /// What was wrong, in words that may change.
    message: String,
    /// The line as it was; the beginning of it where it was too long. Bytes that are not UTF-8 are replaced.
    raw: String,
    /// The bytes of the line in Base64, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
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
        /// How many.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<u64>,
    ) -> Result<Page<View>, Failure> {
        let after = after.0.as_deref().map(cursor).transpose()?;
        let statement = rejects::list(self.reads.connection(), object.0, after, limit.0 + 1);
        let found = self.reads.ask(statement).await?;
        let object = object.0.map(|id| ("object", id.to_string()));
        let listing = Listing {
            path: "/rejects",
            filter: object.into_iter().collect(),
            limit: limit.0,
            entries: found.into_iter().map(View::from).collect(),
        };
        listing.page(|reject| format!("{}.{}", reject.object_id, reject.line))
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

impl From<Model> for View {
    fn from(reject: Model) -> Self {
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
        }
    }
}
