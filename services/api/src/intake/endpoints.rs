//! The endpoints of the intake.

use std::sync::Arc;

use jetline_core::ObjectId;
use jetline_store::{
    ObjectState,
    objects::{Post, PostOutcome},
};
use poem::{
    Body, Request,
    http::{StatusCode, header},
    web::Data,
};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Tags, param::Path};
use serde::Serialize;
use url::{Host, Url};

use super::{
    IntakeMode,
    body::{BodyError, Rejected, Summary},
    headers::{Preferences, idempotency_key},
    posting::{Intake, PostError, PostRequest, Posted},
    write_error::WriteError,
};
use crate::{
    auth::{Caller, Role},
    database,
    http::{
        json::SerdeJson,
        problem::{Failure, Problem, ProblemJson, not_found},
    },
    records::{Served, no_dataset},
};

/// Takes records, and says what became of them.
#[derive(Clone)]
pub(crate) struct IntakeApi {
    pub(crate) served: Served,
    /// None where nobody may post.
    pub(crate) intake: Option<Arc<Intake>>,
}

#[derive(Tags)]
enum Sections {
    /// Records that are posted.
    #[oai(rename = "intake")]
    Intake,
}

/// Records that were posted at once.
#[derive(Object, Serialize)]
#[oai(rename = "Post")]
pub(crate) struct PostView {
    /// The number of the object into which they were written, and that of their first line in it, as in `17.1`.
    id: String,
    /// The dataset.
    dataset: String,
    /// The number of the object.
    object: i64,
    /// Their first line in the object.
    first_line: i64,
    /// How many lines they have in the object, one for each valid record.
    lines: i64,
    /// The state.
    state: State,
    /// Why the object failed.
    error: Option<String>,
    /// How many of the lines are rejected, as `/rejects?object=` shows: those that the database refused. Final when the state is `done` or
    /// `failed`.
    rejected: i64,
    /// How many records of the body are not valid; they were not written. Null unless this is the answer to the body.
    invalid: Option<u64>,
    /// The first of those; 100 at most.
    invalid_records: Option<Vec<InvalidView>>,
}

/// A record that is not valid.
#[derive(Object, Serialize)]
#[oai(rename = "InvalidRecord")]
struct InvalidView {
    /// The number of its first line in the body; of JSON, its own number, from 1.
    line: u32,
    /// A code that does not change, such as `wrong_type`.
    reason: String,
    /// A description with the column's name, which may change.
    message: String,
}

/// The state of posted records.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(rename = "PostState", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum State {
    /// They are durable, and will be loaded.
    Registered,
    /// They are loaded.
    Done,
    /// Their object failed.
    Failed,
}

/// Why no record was taken.
#[derive(Object, Serialize)]
#[oai(rename = "PostProblem")]
pub(crate) struct PostProblem {
    #[serde(flatten)]
    #[oai(flatten)]
    problem: Problem,
    /// How many records of the body are not valid.
    invalid: u64,
    /// The first of them; 100 at most.
    invalid_records: Vec<InvalidView>,
}

#[derive(ApiResponse)]
pub(crate) enum PostRecords {
    /// The object of the valid records has ended, and `state` says how; only with `Prefer: wait=SECONDS`.
    #[oai(status = 200)]
    Loaded(
        SerdeJson<PostView>,
        /// Where to ask what became of them.
        #[oai(header = "Location")]
        String,
    ),
    /// The valid records are durable, and will be loaded.
    #[oai(status = 202)]
    Taken(
        SerdeJson<PostView>,
        /// Where to ask what became of them.
        #[oai(header = "Location")]
        String,
    ),
    /// There is no such dataset.
    #[oai(status = 404)]
    NotFound(ProblemJson),
    /// A post with the same `Idempotency-Key` is under way.
    #[oai(status = 409)]
    Conflict(ProblemJson),
    /// The content type or encoding is not known.
    #[oai(status = 415)]
    UnknownType(ProblemJson),
    /// No record was taken: none is valid, or not all are with `Prefer: handling=strict`, or the `Idempotency-Key` was used for another
    /// body.
    #[oai(status = 422)]
    Refused(ProblemJson<PostProblem>),
}

#[derive(ApiResponse)]
enum GetPost {
    /// What became of the records so far.
    #[oai(status = 200)]
    Found(SerdeJson<PostView>),
    /// Nothing was posted with this id, or it was more than 7 days ago.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi]
impl IntakeApi {
    /// What became of posted records so far.
    #[oai(
        path = "/intake/:id",
        method = "get",
        operation_id = "get_post",
        tag = "Sections::Intake"
    )]
    async fn get(
        &self,
        caller: Data<&Caller>,
        /// The id, from the answer to the post.
        #[oai(validator(pattern = r"^[0-9]{1,10}\.[0-9]{1,10}$"))]
        id: Path<String>,
    ) -> Result<GetPost, Failure> {
        let none = || GetPost::NotFound(not_found(format!("there is no post {}", id.0)));
        let Some(intake) = &self.intake else { return Ok(none()) };
        let place = id.0.split_once('.').and_then(|(object, line)| {
            Some((ObjectId::new(object.parse().ok()?)?, line.parse().ok()?))
        });
        let Some((object, line)) = place else { return Ok(none()) };
        let found = database::classify(intake.ledger().post(object, line).await)?;
        let Some(post) = found.filter(|post| caller.may_read(&post.dataset)) else {
            return Ok(none());
        };
        let view = PostView::of(&post).with_outcome(intake.outcome(&post).await?);
        Ok(GetPost::Found(SerdeJson::new(&view)?))
    }
}

impl IntakeApi {
    /// Takes the records of a request.
    pub(crate) async fn post(
        &self,
        request: &Request,
        caller: &Caller,
        dataset: &str,
        body: Body,
    ) -> Result<PostRecords, Failure> {
        let intake = self.allowed(caller)?;
        if intake.mode == IntakeMode::Open && !is_local(request) {
            return Err(Failure::forbidden(
                "INTAKE=open takes records for localhost only: name it, or its address, in the URL",
            ));
        }
        let Some(loader) = self.served.loader(dataset, caller).await? else {
            return Ok(PostRecords::NotFound(no_dataset(dataset)));
        };
        let preferences = Preferences::of(request);
        let post = PostRequest {
            dataset: loader.dataset(),
            caller: caller.name.as_deref().unwrap_or_default(),
            key: idempotency_key(request)?,
            is_strict: preferences.is_strict,
        };
        let Posted { post, summary } = match intake.post(request, body, post).await {
            Ok(posted) => posted,
            Err(error) => return refused(error),
        };
        let mut view = PostView::of(&post).with_invalid(&summary);
        let has_ended = match preferences.wait {
            Some(wait) => intake.ended.ends_within(post.object, wait).await,
            None => false,
        };
        if has_ended && let Ok(outcome) = intake.outcome(&post).await {
            view = view.with_outcome(outcome);
        }
        // Relative to the dataset's path, so that it is right below any prefix.
        let location = format!("intake/{}", view.id);
        let body = SerdeJson::new(&view)?;
        Ok(match view.state {
            State::Registered => PostRecords::Taken(body, location),
            State::Done | State::Failed => PostRecords::Loaded(body, location),
        })
    }

    /// The intake, if the caller may post.
    fn allowed(&self, caller: &Caller) -> Result<&Intake, Failure> {
        let Some(intake) = &self.intake else {
            return Err(Failure::forbidden(
                "nobody may post records here: it needs INTAKE_STORE, and INTAKE=users with users or API keys, or INTAKE=open \
                 for local use",
            ));
        };
        // Users may be configured beside an open intake.
        let is_known = caller.name.is_some() || intake.mode == IntakeMode::Users;
        if is_known && caller.rights.role < Role::Write {
            return Err(Failure::forbidden("this needs the role write"));
        }
        Ok(intake)
    }
}

/// Whether the client asked for this machine: the page of another name that leads here must not post.
fn is_local(request: &Request) -> bool {
    let host = request.header(header::HOST).unwrap_or_default();
    let url = Url::parse(&format!("http://{host}"));
    match url.as_ref().ok().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl Intake {
    async fn outcome(&self, post: &Post) -> Result<PostOutcome, database::Error> {
        database::classify(self.ledger().post_outcome(post).await)
    }
}

impl PostView {
    fn of(post: &Post) -> Self {
        Self {
            id: format!("{}.{}", post.object, post.first_line),
            dataset: post.dataset.clone(),
            object: post.object.get(),
            first_line: post.first_line,
            lines: post.lines,
            state: State::Registered,
            error: None,
            rejected: 0,
            invalid: None,
            invalid_records: None,
        }
    }

    fn with_invalid(self, summary: &Summary) -> Self {
        let records = invalid_records(summary);
        Self { invalid: Some(summary.rejected), invalid_records: Some(records), ..self }
    }

    fn with_outcome(self, outcome: PostOutcome) -> Self {
        let PostOutcome { state, error, rejected } = outcome;
        let state = match state {
            ObjectState::Done => State::Done,
            ObjectState::Failed => State::Failed,
            _ => State::Registered,
        };
        Self { state, error, rejected, ..self }
    }
}

fn invalid_records(summary: &Summary) -> Vec<InvalidView> {
    let view = |Rejected { line, rejection }: &Rejected| InvalidView {
        line: *line,
        reason: rejection.reason.code().to_owned(),
        message: rejection.message.clone(),
    };
    summary.named.iter().map(view).collect()
}

/// The answer to a post that is not taken.
fn refused(error: PostError) -> Result<PostRecords, Failure> {
    let detail = error.to_string();
    let problem = |status| ProblemJson::new(status, detail.clone());
    match error {
        PostError::Body(BodyError::UnknownType | BodyError::UnknownEncoding) => {
            Ok(PostRecords::UnknownType(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE)))
        }
        PostError::Body(BodyError::TooLong(_)) => {
            Err(Failure::TooLong(problem(StatusCode::PAYLOAD_TOO_LARGE)))
        }
        PostError::Body(BodyError::Stalled(_)) => Err(Failure::too_slow(detail)),
        PostError::Body(BodyError::Unreadable(_) | BodyError::NotOfItsType(_)) => {
            Err(Failure::BadRequest(problem(StatusCode::BAD_REQUEST)))
        }
        PostError::Body(BodyError::Write(error)) | PostError::Write(error) => Err(error.into()),
        PostError::NoRedactionKey(_) => Err(Failure::forbidden(&detail)),
        PostError::UnderWay => Ok(PostRecords::Conflict(problem(StatusCode::CONFLICT))),
        PostError::OtherBody => Ok(unprocessable(detail, &Summary::default())),
        PostError::NoRecords(summary) | PostError::NotAllValid(summary) => {
            Ok(unprocessable(detail, &summary))
        }
    }
}

fn unprocessable(detail: String, summary: &Summary) -> PostRecords {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let problem = PostProblem {
        problem: Problem::new(status, detail),
        invalid: summary.rejected,
        invalid_records: invalid_records(summary),
    };
    PostRecords::Refused(ProblemJson::of(problem))
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unavailable | WriteError::Busy | WriteError::Outdated => {
                Self::unavailable(error.to_string())
            }
            WriteError::Failed => Self::internal(),
        }
    }
}
