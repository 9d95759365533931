//! The endpoints of all datasets. The OpenAPI document has them once for each dataset.

use jetline_core::Key;
use jetline_datasets::Dataset;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path, Query},
};
use serde_json::Value;

use crate::{
    database::ReadPool,
    http::{
        entity_tag,
        json::SerdeJson,
        problem::{Failure, ProblemJson, not_found},
        response_budget::ResponseBudget,
    },
    records::{rendered::Rendered, served::Served, stream},
};

/// Maximum number of ids in one request.
const MAX_IDS: usize = 100;

/// Clients have to revalidate a stored copy before each use; with the `ETag` that costs a 304.
const CACHE_CONTROL: &str = "no-cache";

/// Serves the records of all datasets.
pub(crate) struct RecordApi {
    pub(crate) served: Served,
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
}

#[derive(ApiResponse)]
enum GetRecord {
    /// The record.
    #[oai(status = 200)]
    Found(
        SerdeJson<Value>,
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

#[derive(ApiResponse)]
enum ListRecords {
    /// The records.
    #[oai(status = 200)]
    Found(SerdeJson<Value>),
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
        dataset: Path<String>,
        /// The record's id.
        id: Path<String>,
        /// Tags that the caller has; when the record's is among them, the answer is 304.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<Vec<String>>>,
    ) -> Result<GetRecord, Failure> {
        let Some(loader) = self.served.loader(&dataset.0).await? else {
            return Ok(GetRecord::NotFound(no_dataset(&dataset.0)));
        };
        let key = key(loader.dataset(), &id.0)?;
        let Some(found) = loader.load(key).await? else {
            let detail = format!("no record of {} has the id {}", dataset.0, id.0);
            return Ok(GetRecord::NotFound(not_found(detail)));
        };
        Ok(respond(&found, &if_none_match.0.unwrap_or_default()))
    }

    /// Several records.
    ///
    /// Those that exist, in the order of the request.
    #[oai(path = "/:dataset", method = "get", operation_id = "list")]
    async fn list(
        &self,
        dataset: Path<String>,
        /// The records' ids, 1 to 100 of them: `?id=1&id=2`.
        id: Query<Vec<String>>,
    ) -> Result<ListRecords, Failure> {
        let Some(loader) = self.served.loader(&dataset.0).await? else {
            return Ok(ListRecords::NotFound(no_dataset(&dataset.0)));
        };
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
        let keys = id.0.iter().map(|id| key(loader.dataset(), id));
        let keys = keys.collect::<Result<Vec<Key>, Failure>>()?;
        stream::respond(loader.dataset(), &self.pool, &self.budget, keys)
            .await
            .map(ListRecords::Found)
    }
}

fn no_dataset(name: &str) -> ProblemJson {
    not_found(format!("there is no dataset {name}; /docs lists what there is"))
}

fn key(dataset: &Dataset, id: &str) -> Result<Key, Failure> {
    dataset.read_key(id).map_err(|rejection| {
        Failure::parameter("id", &format!("cannot be a key: {}", rejection.message))
    })
}

fn respond(record: &Rendered, if_none_match: &[String]) -> GetRecord {
    let tag = record.tag.clone();
    let caching = CACHE_CONTROL.to_owned();
    if entity_tag::matches(if_none_match, &tag) {
        return GetRecord::NotModified(tag, caching);
    }
    let body = SerdeJson::serialized(record.body.clone());
    GetRecord::Found(body, tag, record.modified.clone(), caching)
}
