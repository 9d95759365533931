//! The endpoints of objects.

use chrono::{DateTime, Utc};
use jetline_store::{ObjectState as State, catalog::objects};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;

use crate::{
    auth::Caller,
    database::ReadPool,
    http::{
        json::SerdeJson,
        paging::{Listing, Page, default_limit},
        problem::{Failure, ProblemJson, not_found},
        response_budget::{PART_BYTES, ResponseBudget},
    },
    ingestion::Sections,
    records::Served,
};

/// Serves the ledger's objects.
pub(crate) struct ObjectApi {
    pub(crate) served: Served,
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
}

/// An object version, its state, and the outcomes of its lines.
///
/// `lines = inserted + updated + deleted + unchanged + superseded + rejected`: the lines whose outcome is known.
#[derive(Object, Serialize)]
#[oai(rename = "IngestedObject")]
struct ObjectView {
    /// Its number, in the order of registration.
    id: i64,
    /// Its address.
    uri: String,
    /// Its `ETag`.
    etag: String,
    /// The dataset of its lines.
    dataset: String,
    /// Its state.
    state: ObjectState,
    /// Why it failed, or cannot be read yet.
    error: Option<String>,
    /// Whether its failure was dismissed: runs do not report it any more.
    dismissed: bool,
    /// Bytes, as stored.
    bytes: i64,
    /// Bytes, decompressed; known when it was read to the end.
    total_bytes: Option<i64>,
    /// Bytes, decompressed, that were read some seconds ago, or when its reading ended.
    read_bytes: i64,
    /// Bytes, decompressed, that are committed.
    committed_bytes: i64,
    /// Lines whose outcome is known.
    lines: i64,
    /// Lines that became rows.
    inserted: i64,
    /// Lines that changed rows.
    updated: i64,
    /// Lines that deleted.
    deleted: i64,
    /// Lines whose rows had the same content.
    unchanged: i64,
    /// Lines that another line of the same id superseded.
    superseded: i64,
    /// Lines that were rejected; `/rejects` shows them.
    rejected: i64,
    /// When it was registered.
    registered_at: DateTime<Utc>,
    /// When it was done or failed.
    done_at: Option<DateTime<Utc>>,
}

/// The state of an object.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(remote = "State", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum ObjectState {
    /// Registered, not read yet.
    Registered,
    /// Being read.
    Reading,
    /// Read to the end; not all of it is committed.
    Loading,
    /// All of it is committed.
    Done,
    /// It ended with an error; what could be read is committed.
    Failed,
}

#[derive(ApiResponse)]
enum GetObject {
    /// The object.
    #[oai(status = 200)]
    Found(SerdeJson<ObjectView>),
    /// No object has this number.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi(tag = "Sections::Ingestion")]
impl ObjectApi {
    /// The objects, oldest first.
    #[oai(path = "/objects", method = "get", operation_id = "list_objects")]
    async fn list(
        &self,
        caller: Data<&Caller>,
        /// Only those in this state.
        state: Query<Option<ObjectState>>,
        /// Only those of this dataset.
        dataset: Query<Option<String>>,
        /// Only those after this number.
        after: Query<Option<i64>>,
        /// How many at most.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
    ) -> Result<Page<ObjectView>, Failure> {
        let dataset = dataset.0;
        let filter = objects::Filter {
            state: state.0.map(State::from),
            datasets: self.served.listed(dataset.as_ref(), caller.0).await?,
            ..objects::Filter::default()
        };
        let memory = self.budget.reserve(PART_BYTES).await?;
        let more = limit.0 + 1;
        let statement = self.pool.catalog().objects(&filter, after.0, more);
        let mut found = self.pool.run(statement).await?;
        let has_more = found.len() as u64 == more;
        found.truncate(usize::try_from(limit.0).unwrap_or(usize::MAX));
        let state = state.0.map(|state| ("state", state.word()));
        let dataset = dataset.map(|name| ("dataset", name));
        let listing = Listing {
            filter: state.into_iter().chain(dataset).collect(),
            limit: limit.0,
            entries: found.into_iter().map(ObjectView::from).collect(),
            has_more,
        };
        listing.page(memory, |object| object.id.to_string())
    }

    /// One object.
    #[oai(path = "/objects/:id", method = "get", operation_id = "get_object")]
    async fn get(
        &self,
        caller: Data<&Caller>,
        /// Its number.
        id: Path<i64>,
    ) -> Result<GetObject, Failure> {
        let statement = self.pool.catalog().object(id.0);
        let found = self.pool.run(statement).await?;
        match found.filter(|object| caller.may_read(&object.dataset)) {
            Some(object) => Ok(GetObject::Found(SerdeJson::new(&ObjectView::from(object))?)),
            None => Ok(GetObject::NotFound(not_found(format!("there is no object {}", id.0)))),
        }
    }
}

impl From<objects::ObjectStatus> for ObjectView {
    fn from(object: objects::ObjectStatus) -> Self {
        Self {
            lines: object.lines(),
            id: object.id,
            uri: object.uri,
            etag: object.etag,
            dataset: object.dataset,
            state: object.state.into(),
            error: object.error,
            dismissed: object.dismissed,
            bytes: object.bytes,
            total_bytes: object.total_bytes,
            read_bytes: object.read_bytes.max(object.committed_bytes),
            committed_bytes: object.committed_bytes,
            inserted: object.inserted,
            updated: object.updated,
            deleted: object.deleted,
            unchanged: object.unchanged,
            superseded: object.superseded,
            rejected: object.rejected,
            registered_at: object.registered_at,
            done_at: object.done_at,
        }
    }
}

impl ObjectState {
    fn word(self) -> String {
        format!("{self:?}").to_ascii_lowercase()
    }
}
