//! What became of the objects.

use chrono::{DateTime, Utc};
use jetline_store::{entities::objects::State, read::objects};
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Path, Query},
};
use serde::Serialize;

use crate::{
    answers::{Answers, PART_BYTES},
    database::Reads,
    dataset_name::DatasetName,
    json::SerdeJson,
    paging::{Listing, Page, default_limit},
    problem::{Failure, ProblemJson, not_found},
    sections::Sections,
};

/// Serves the ledger's objects.
pub(crate) struct ObjectApi {
    pub(crate) reads: Reads,
    pub(crate) answers: Answers,
}

/// An object version, how far it is, and what became of its lines.
///
/// `lines = inserted + updated + unchanged + superseded + rejected`: the lines whose fate is known.
#[derive(Object, Serialize)]
#[oai(rename = "Object")]
struct View {
    /// Its number, in the order of registration.
    id: i64,
    /// Its address.
    uri: String,
    /// What changes with the content.
    etag: String,
    /// What its lines are.
    dataset: String,
    /// How far it is.
    state: ObjectState,
    /// Why it failed, or cannot be read yet.
    error: Option<String>,
    /// Whether its failure was dismissed: runs do not count it any more.
    dismissed: bool,
    /// Bytes, as stored.
    bytes: i64,
    /// Bytes, decompressed; known when it was read to the end.
    total_bytes: Option<i64>,
    /// Bytes, decompressed, that are committed.
    committed_bytes: i64,
    /// Lines whose fate is known.
    lines: i64,
    /// Lines that became rows.
    inserted: i64,
    /// Lines that changed rows.
    updated: i64,
    /// Lines whose rows said so already.
    unchanged: i64,
    /// Lines that a later line of the same id outdid.
    superseded: i64,
    /// Lines that were not taken; `/rejects` shows them.
    rejected: i64,
    /// When it was first seen.
    registered_at: DateTime<Utc>,
    /// When it was done or failed.
    done_at: Option<DateTime<Utc>>,
}

/// How far an object is.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum ObjectState {
    /// Known, not read yet.
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
    Found(SerdeJson<View>),
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
        /// Only those that are so far.
        state: Query<Option<ObjectState>>,
        /// Only those of this dataset.
        dataset: Query<Option<DatasetName>>,
        /// Only those behind this number.
        after: Query<Option<i64>>,
        /// How many.
        #[oai(
            default = "default_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<u64>,
    ) -> Result<Page<View>, Failure> {
        let dataset = dataset.0.map(|name| name.0);
        let filter = objects::Filter {
            state: state.0.map(State::from),
            dataset: dataset.clone(),
            ..objects::Filter::default()
        };
        let memory = self.answers.reserve(PART_BYTES).await?;
        let more = limit.0 + 1;
        let statement = objects::list(self.reads.connection(), &filter, after.0, more);
        let mut found = self.reads.ask(statement).await?;
        let goes_on = found.len() as u64 == more;
        found.truncate(usize::try_from(limit.0).unwrap_or(usize::MAX));
        let state = state.0.map(|state| ("state", state.word()));
        let dataset = dataset.map(|name| ("dataset", name));
        let listing = Listing {
            path: "/objects",
            filter: state.into_iter().chain(dataset).collect(),
            limit: limit.0,
            entries: found.into_iter().map(View::from).collect(),
            goes_on,
        };
        listing.page(memory, |object| object.id.to_string())
    }

    /// One object.
    #[oai(path = "/objects/:id", method = "get", operation_id = "get_object")]
    async fn get(
        &self,
        /// Its number.
        id: Path<i64>,
    ) -> Result<GetObject, Failure> {
        let statement = objects::find(self.reads.connection(), id.0);
        match self.reads.ask(statement).await? {
            Some(object) => Ok(GetObject::Found(SerdeJson::new(&View::from(object))?)),
            None => Ok(GetObject::NotFound(not_found(format!(
                "there is no object {}",
                id.0
            )))),
        }
    }
}

impl From<objects::ObjectStatus> for View {
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
            committed_bytes: object.committed_bytes,
            inserted: object.inserted,
            updated: object.updated,
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

impl From<State> for ObjectState {
    fn from(state: State) -> Self {
        match state {
            State::Registered => Self::Registered,
            State::Reading => Self::Reading,
            State::Loading => Self::Loading,
            State::Done => Self::Done,
            State::Failed => Self::Failed,
        }
    }
}

impl From<ObjectState> for State {
    fn from(state: ObjectState) -> Self {
        match state {
            ObjectState::Registered => Self::Registered,
            ObjectState::Reading => Self::Reading,
            ObjectState::Loading => Self::Loading,
            ObjectState::Done => Self::Done,
            ObjectState::Failed => Self::Failed,
        }
    }
}
