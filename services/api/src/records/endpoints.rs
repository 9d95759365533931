//! The endpoints of a dataset.

use jetline_core::Key;
use jetline_records::{Record, RecordId};
use jetline_runtime::Shutdown;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
};

use crate::{
    database::ReadPool,
    http::{
        entity_tag,
        json::SerdeJson,
        problem::{Failure, ProblemJson, not_found},
        response_budget::ResponseBudget,
    },
    records::{
        loader::{RecordCache, RecordLoader},
        rendered::Rendered,
        stream,
    },
};

/// Maximum number of ids in one request.
const MAX_IDS: usize = 100;

/// Clients have to revalidate a stored copy before each use; with the `ETag` that costs a 304.
const CACHE_CONTROL: &str = "no-cache";

/// Serves the records of a dataset.
pub(crate) struct RecordApi<R: Record> {
    loader: RecordLoader<R>,
    pool: ReadPool,
    budget: ResponseBudget,
}

#[derive(ApiResponse)]
enum GetRecord<R: Record> {
    /// The record.
    #[oai(status = 200)]
    Found(
        SerdeJson<R>,
        /// The record's fingerprint.
        #[oai(header = "ETag")]
        String,
        /// When the content of the record last changed.
        #[oai(header = "Last-Modified")]
        String,
        /// A stored copy has to be revalidated before use.
        #[oai(header = "Cache-Control")]
        String,
    ),
    /// The caller has it already.
    #[oai(status = 304)]
    NotModified(
        /// The record's fingerprint.
        #[oai(header = "ETag")]
        String,
        /// A stored copy has to be revalidated before use.
        #[oai(header = "Cache-Control")]
        String,
    ),
    /// No record has this id.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

impl<R: Record> RecordApi<R> {
    pub(crate) fn new(
        pool: ReadPool,
        budget: ResponseBudget,
        cache: RecordCache,
        shutdown: &Shutdown,
    ) -> Self {
        Self { loader: RecordLoader::start(&pool, &budget, cache, shutdown), pool, budget }
    }
}

#[OpenApi(prefix_path = R::NAME)]
impl<R: Record> RecordApi<R> {
    /// One record.
    #[oai(path = "/:id", method = "get", operation_id = "get")]
    async fn get(
        &self,
        /// The record's id.
        id: Path<R::Id>,
        /// Tags that the caller has; when the record's is among them, the answer is 304.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<Vec<String>>>,
    ) -> Result<GetRecord<R>, Failure> {
        let key = id.0.key();
        let found = if is_possible(&key) { self.loader.load(id.0).await? } else { None };
        let Some(found) = found else {
            let detail = format!("no record of {} has the id {key}", R::NAME);
            return Ok(GetRecord::NotFound(not_found(detail)));
        };
        Ok(respond(&found, &if_none_match.0.unwrap_or_default()))
    }

    /// Several records.
    ///
    /// Those that exist, in the order of the request.
    #[oai(path = "/", method = "get", operation_id = "list")]
    async fn list(
        &self,
        /// The records' ids, 1 to 100 of them: `?id=1&id=2`.
        id: Query<Vec<R::Id>>,
    ) -> Result<SerdeJson<Vec<R>>, Failure> {
        match id.0.len() {
            0 => {
                return Err(Failure::parameter("id", "is missing: ask for ids as in ?id=1&id=2"));
            }
            1..=MAX_IDS => {}
            more => {
                let reason =
                    format!("is given {more} times; at most {MAX_IDS} can be asked for at once");
                return Err(Failure::parameter("id", &reason));
            }
        }
        let mut ids = id.0;
        ids.retain(|id| is_possible(&id.key()));
        stream::respond(&self.pool, &self.budget, ids).await
    }
}

/// Whether the database can be queried for it: PostgreSQL refuses texts with U+0000, which no id has.
fn is_possible(key: &Key) -> bool {
    !matches!(key, Key::Text(text) if text.contains('\0'))
}

fn respond<R: Record>(record: &Rendered, if_none_match: &[String]) -> GetRecord<R> {
    let tag = record.tag.clone();
    let caching = CACHE_CONTROL.to_owned();
    if entity_tag::matches(if_none_match, &tag) {
        return GetRecord::NotModified(tag, caching);
    }
    let body = SerdeJson::serialized(record.body.clone());
    GetRecord::Found(body, tag, record.modified.clone(), caching)
}
