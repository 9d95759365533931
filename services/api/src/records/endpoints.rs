//! The endpoints of all datasets. The OpenAPI document has them once for each dataset.

use std::{sync::Arc, time::SystemTime};

use headers::{Header as _, IfModifiedSince, LastModified};
use jetline_core::Key;
use jetline_datasets::Dataset;
use jetline_store::catalog::pages::Filter;
use poem::{Body, Request, http::HeaderValue, web::Data};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
};
use serde_json::Value;

use crate::{
    auth::Caller,
    database::{Error, ReadPool},
    http::{
        entity_tag,
        json::SerdeJson,
        paging::default_limit,
        problem::{Failure, ProblemJson},
        response_budget::ResponseBudget,
    },
    intake::{IntakeApi, PostRecords},
    records::{
        deleted, loader::RecordLoader, no_dataset, no_record, page, parameters, rendered::Rendered,
        served::Served, stream,
    },
};

/// Maximum number of ids in one request.
const MAX_IDS: usize = 100;

/// Clients have to revalidate a stored copy before each use; with the `ETag` that costs a 304.
const CACHE_CONTROL: &str = "no-cache";

/// Serves the records of all datasets.
pub(crate) struct RecordApi {
    pub(crate) intake: IntakeApi,
    pub(crate) served: Served,
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
}

#[derive(ApiResponse)]
pub(super) enum GetRecord {
    /// The record.
    #[oai(status = 200)]
    Found(
        SerdeJson<Value>,
        /// The record's fingerprint.
        #[oai(header = "ETag")]
        String,
        /// When the content of the record last changed; from a minute after that.
        #[oai(header = "Last-Modified")]
        Option<String>,
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
    /// The record with this id was deleted.
    #[oai(status = 410)]
    Deleted(ProblemJson),
}

#[derive(ApiResponse)]
enum ListRecords {
    /// The records. A page may have fewer of them than `limit`, where they are long: it ends at about 1 MiB.
    #[oai(status = 200)]
    Found(
        SerdeJson<Value>,
        /// `<…>; rel="next"`: the next page, unless this is the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
    /// There is no such dataset.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi]
impl RecordApi {
    /// One record.
    #[oai(path = "/:dataset/:id", method = "get", operation_id = "get")]
    async fn get(
        &self,
        caller: Data<&Caller>,
        dataset: Path<String>,
        /// The record's id.
        id: Path<String>,
        /// Tags that the caller has; when the record's is among them, the answer is 304.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<Vec<String>>>,
        /// The `Last-Modified` that the caller has; when the record has not changed since, the answer is 304. Ignored if there is
        /// an `If-None-Match`.
        #[oai(name = "If-Modified-Since")]
        if_modified_since: Header<Option<String>>,
    ) -> Result<GetRecord, Failure> {
        let Some(loader) = self.served.loader(&dataset.0, caller.0).await? else {
            return Ok(GetRecord::NotFound(no_dataset(&dataset.0)));
        };
        find(&self.served, &loader, &id.0, if_none_match.0, if_modified_since.0).await
    }

    /// The records in the order of their ids, or several by their ids.
    ///
    /// With `id`, which no other parameter can be combined with: those that exist, in the order of the request.
    #[oai(path = "/:dataset", method = "get", operation_id = "list")]
    async fn list(
        &self,
        request: &Request,
        caller: Data<&Caller>,
        dataset: Path<String>,
        /// The records' ids, 1 to 100 of them: `?id=1&id=2`.
        id: Query<Option<Vec<String>>>,
        /// Only those after this id.
        after: Query<Option<String>>,
        /// How many at most; 100 unless it is given.
        // Clients send a default that is documented, also with ids.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<Option<u64>>,
    ) -> Result<ListRecords, Failure> {
        let Some(loader) = self.served.loader(&dataset.0, caller.0).await? else {
            return Ok(ListRecords::NotFound(no_dataset(&dataset.0)));
        };
        let parameters = parameters::of(request);
        let found = if let Some(ids) = id.0 {
            parameters::only_ids(&parameters)?;
            self.by_ids(loader.dataset(), &ids).await
        } else {
            let values = parameters::filters(loader.dataset(), &parameters)?;
            let after = after.0.map(|after| parameters::key(loader.dataset(), "after", &after));
            let filter = Filter { values, after: after.transpose()? };
            let limit = limit.0.unwrap_or(default_limit());
            page::respond(loader.dataset(), &self.pool, &self.budget, filter, limit).await
        };
        match found {
            Ok((found, next)) => Ok(ListRecords::Found(found, next)),
            Err(Failure::Internal(_)) if self.served.is_dropped(&dataset.0).await => {
                Ok(ListRecords::NotFound(no_dataset(&dataset.0)))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Posts records.
    ///
    /// Every valid record is loaded as if it were a line of a file. Those that are not valid are left out and named in the
    /// answer. 503 means that it is not known whether the records were taken: post them again, with the same `Idempotency-Key`.
    // Here because the document has one entry for each path of an API.
    #[oai(path = "/:dataset", method = "post", operation_id = "post")]
    async fn post(
        &self,
        request: &Request,
        caller: Data<&Caller>,
        dataset: Path<String>,
        /// The same key with the same body is the same post, for 7 days.
        #[oai(name = "Idempotency-Key")]
        _idempotency_key: Header<Option<String>>,
        /// `wait=SECONDS`, up to 60, waits until the records are loaded; `handling=strict` takes all records or none.
        #[oai(name = "Prefer")]
        _prefer: Header<Option<String>>,
        body: Body,
    ) -> Result<PostRecords, Failure> {
        self.intake.post(request, caller.0, &dataset.0, body).await
    }
}

impl RecordApi {
    async fn by_ids(
        &self,
        dataset: &Arc<Dataset>,
        ids: &[String],
    ) -> Result<(SerdeJson<Value>, Option<String>), Failure> {
        let keys = keys(dataset, ids)?;
        Ok((stream::respond(dataset, &self.pool, &self.budget, keys).await?, None))
    }
}

/// One record of the loader's dataset.
pub(super) async fn find(
    served: &Served,
    loader: &RecordLoader,
    id: &str,
    if_none_match: Option<Vec<String>>,
    if_modified_since: Option<String>,
) -> Result<GetRecord, Failure> {
    let dataset = &loader.dataset().name;
    let key = parameters::key(loader.dataset(), "id", id)?;
    let found = match loader.load(key).await {
        Err(Error::Failed) if served.is_dropped(dataset).await => {
            return Ok(GetRecord::NotFound(no_dataset(dataset)));
        }
        found => found?,
    };
    let Some(found) = found else {
        return Ok(GetRecord::NotFound(no_record(dataset, id)));
    };
    if found.is_deleted {
        return Ok(GetRecord::Deleted(deleted(dataset, id)));
    }
    let is_current = match (if_none_match, &found.modified) {
        (Some(tags), _) => entity_tag::matches(&tags, &found.tag),
        (None, Some(modified)) => is_unmodified(if_modified_since.as_deref(), (*modified).into()),
        (None, None) => false,
    };
    Ok(respond(&found, is_current))
}

fn keys(dataset: &Dataset, ids: &[String]) -> Result<Vec<Key>, Failure> {
    if ids.len() > MAX_IDS {
        let times = ids.len();
        let reason = format!("is given {times} times; at most {MAX_IDS} can be asked for at once");
        return Err(Failure::parameter("id", &reason));
    }
    ids.iter().map(|id| parameters::key(dataset, "id", id)).collect()
}

/// Whether what was last modified at a time is what a client has. A malformed header is ignored.
fn is_unmodified(since: Option<&str>, modified: SystemTime) -> bool {
    let since = since.and_then(|since| HeaderValue::from_str(since).ok());
    let since = since.and_then(|since| IfModifiedSince::decode(&mut std::iter::once(&since)).ok());
    since.is_some_and(|since| !since.is_modified(modified))
}

fn respond(record: &Rendered, is_current: bool) -> GetRecord {
    let tag = record.tag.clone();
    let caching = CACHE_CONTROL.to_owned();
    if is_current {
        return GetRecord::NotModified(tag, caching);
    }
    let body = SerdeJson::serialized(record.body.clone());
    GetRecord::Found(body, tag, record.modified.map(http_date), caching)
}

fn http_date(time: LastModified) -> String {
    let mut values = Vec::new();
    time.encode(&mut values);
    values.first().and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}
