//! The pages of objects and rejected records.

use std::sync::Arc;

use askama::Template;
use jetline_store::{
    ObjectState as State,
    catalog::{
        objects::{Filter, ObjectStatus},
        rejects::{self, Cursor, Reject},
    },
};
use poem::{
    Request, Response, handler,
    web::{Data, Path, Query},
};
use serde::Deserialize;

use super::{
    Page, chosen,
    frame::{Frame, PageError},
    next_page,
    rows::{ObjectRow, beginning},
};
use crate::{auth::Caller, http::response_budget::PART_BYTES};

/// Number of objects on a page.
const OBJECTS: usize = 50;

/// Number of rejected records on a page.
const REJECTS: u64 = 50;

/// How many characters of a rejected record are shown in a list.
const BEGINNING_CHARS: usize = 120;

/// The choices of states.
const STATES: [(&str, &str); 7] = [
    ("", "all"),
    ("open", "open"),
    ("registered", "registered"),
    ("reading", "being read"),
    ("loading", "read, being committed"),
    ("done", "done"),
    ("failed", "failed"),
];

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    dataset: String,
    #[serde(default)]
    rejects: String,
    before: Option<i64>,
}

#[derive(Template)]
#[template(path = "objects.html")]
struct Objects {
    frame: Frame,
    states: [(&'static str, &'static str); 7],
    state: String,
    datasets: Vec<String>,
    dataset: String,
    has_rejects: bool,
    rows: Vec<ObjectRow>,
    next: Option<String>,
}

#[handler]
pub(super) async fn show_objects(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Query(query): Query<ListQuery>,
) -> Response {
    let frame = page.frame(request, caller, "Objects");
    frame.answer(render_list(page, caller, &frame, query).await)
}

async fn render_list(
    page: &Page,
    caller: &Caller,
    frame: &Frame,
    query: ListQuery,
) -> Result<String, PageError> {
    let datasets = page.datasets(caller).await?;
    let state = match &*query.state {
        "" | "open" => None,
        "registered" => Some(State::Registered),
        "reading" => Some(State::Reading),
        "loading" => Some(State::Loading),
        "done" => Some(State::Done),
        "failed" => Some(State::Failed),
        _ => return Err(PageError::BadRequest("There is no such state.".to_owned())),
    };
    let filter = Filter {
        state,
        open: query.state == "open",
        has_rejects: !query.rejects.is_empty(),
        datasets: chosen(&query.dataset, &datasets, caller)?,
        ..Filter::default()
    };
    let limit = OBJECTS as u64 + 1;
    let statement = page.pool.catalog().latest_objects(&filter, query.before, limit);
    let mut found = page.pool.run(statement).await?;
    let has_more = found.len() > OBJECTS;
    found.truncate(OBJECTS);
    let next = found.last().filter(|_| has_more).map(|last| {
        let filter =
            [("state", &query.state), ("dataset", &query.dataset), ("rejects", &query.rejects)];
        next_page(&filter, "before", &last.id.to_string())
    });
    let sample = page.monitor.sample().await;
    let rate = |id: i64| sample.rates.get(&id).copied();
    let objects = Objects {
        frame: frame.clone(),
        states: STATES,
        state: query.state,
        datasets,
        dataset: query.dataset,
        has_rejects: filter.has_rejects,
        rows: found.iter().map(|object| ObjectRow::new(object, rate(object.id))).collect(),
        next,
    };
    Ok(objects.render()?)
}

#[derive(Deserialize)]
struct ObjectQuery {
    /// The line after which rejected records are shown.
    after: Option<i64>,
    /// What was done to it.
    done: Option<String>,
}

#[derive(Template)]
#[template(path = "object.html")]
struct ObjectPage {
    frame: Frame,
    object: ObjectRow,
    done: Option<&'static str>,
    rejects: Vec<RejectRow>,
    is_continued: bool,
    next: Option<String>,
}

/// A rejected record.
struct RejectRow {
    line: i64,
    offset: i64,
    reason: String,
    message: String,
    text: String,
    beginning: String,
    is_truncated: bool,
}

impl From<Reject> for RejectRow {
    fn from(reject: Reject) -> Self {
        let is_truncated = reject.is_truncated();
        let text = rejects::text(reject.raw).0;
        Self {
            line: reject.line,
            offset: reject.byte_offset,
            reason: reject.reason,
            message: reject.message,
            beginning: beginning(&text, BEGINNING_CHARS),
            text,
            is_truncated,
        }
    }
}

#[handler]
pub(super) async fn show_object(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path(id): Path<i64>,
    Query(query): Query<ObjectQuery>,
) -> Response {
    let frame = page.frame(request, caller, "Objects");
    frame.answer(render_object(page, caller, &frame, id, query).await)
}

async fn render_object(
    page: &Page,
    caller: &Caller,
    frame: &Frame,
    id: i64,
    query: ObjectQuery,
) -> Result<String, PageError> {
    let object = find(page, caller, id).await?;
    let sample = page.monitor.sample().await;
    let filter = rejects::Filter { datasets: caller.datasets(), object: Some(id), reason: None };
    let after = query.after.map(|line| Cursor { object_id: id, line });
    let memory = page.budget.reserve(PART_BYTES).await?;
    let statement = page.pool.catalog().rejects(&filter, after, REJECTS, PART_BYTES);
    let found = page.pool.run(statement).await?;
    let last = found.rejects.last().filter(|_| found.has_more);
    let next = last.map(|last| format!("?after={}", last.line));
    let rejects = found.rejects.into_iter().map(RejectRow::from).collect();
    drop(memory);
    let done = query.done.as_deref().and_then(|done| match done {
        // A link that was kept may be older than a replay.
        _ if !object.dismissed && done != "replayed" => None,
        "dismissed" => Some("It is dismissed: runs do not report its failure any more."),
        "replayed" => Some("It and all later objects are read again."),
        "ending" => Some("It is dismissed: it fails as soon as everything before it has ended."),
        _ => None,
    });
    let object = ObjectPage {
        frame: frame.clone(),
        object: ObjectRow::new(&object, sample.rates.get(&id).copied()),
        done,
        rejects,
        is_continued: after.is_some(),
        next,
    };
    Ok(object.render()?)
}

/// An object that the caller may read.
pub(super) async fn find(page: &Page, caller: &Caller, id: i64) -> Result<ObjectStatus, PageError> {
    let found = page.pool.run(page.pool.catalog().object(id)).await?;
    let found = found.filter(|object| caller.may_read(&object.dataset));
    found.ok_or_else(|| PageError::NotFound(format!("object {id}")))
}

#[derive(Template)]
#[template(path = "reject.html")]
struct RejectPage {
    frame: Frame,
    object: i64,
    reject: RejectRow,
}

#[handler]
pub(super) async fn show_reject(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path((object, line)): Path<(i64, i64)>,
) -> Response {
    let frame = page.frame(request, caller, "Objects");
    frame.answer(render_reject(page, caller, &frame, object, line).await)
}

async fn render_reject(
    page: &Page,
    caller: &Caller,
    frame: &Frame,
    object: i64,
    line: i64,
) -> Result<String, PageError> {
    let at = Cursor { object_id: object, line };
    let datasets = caller.datasets();
    let statement = page.pool.catalog().reject(at, datasets.as_deref());
    let reject = page.pool.run(statement).await?;
    let unknown =
        || PageError::NotFound(format!("rejected record in line {line} of object {object}"));
    let reject = reject.ok_or_else(unknown)?.into();
    Ok(RejectPage { frame: frame.clone(), object, reject }.render()?)
}
