//! What users with the role `admin` can change, after they saw what would be done.

use std::sync::Arc;

use askama::Template;
use async_trait::async_trait;
use chrono::Utc;
use jetline_core::{EpochId, ObjectId};
use jetline_runtime::human;
use jetline_store::{
    Database, Ledger, ObjectState as State, Outbox, catalog::objects::ObjectStatus,
    objects::Dismissal, outbox::Redeliver,
};
use poem::{
    IntoResponse, Request, Response, handler,
    http::{StatusCode, header},
    web::{Data, Path},
};

use super::{
    Page,
    figures::counted,
    frame::{Frame, PageError},
    objects,
};
use crate::{
    auth::{Caller, Role},
    database::classify,
};

/// Maximum number of lines of a plan that are shown.
const PLAN_LINES: usize = 100;

/// Where changes are made.
#[derive(Clone)]
pub struct Actions {
    /// The database itself, not a replica.
    pub database: Database,
    /// Reads objects again; none where no fetcher watches the sources in this process.
    pub replay: Option<Arc<dyn Replay>>,
}

/// Marks objects to be read again.
#[async_trait]
pub trait Replay: Send + Sync {
    /// An object and all that were registered after it; says what was done, or, for a `dry_run`, what would be.
    async fn replay(&self, object: u32, dry_run: bool) -> anyhow::Result<String>;
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct Confirm {
    frame: Frame,
    title: &'static str,
    plan: String,
    is_possible: bool,
    /// The path of the page to return to, below `/`.
    back: String,
}

/// What would be done, or why it cannot be.
type Plan = Result<String, String>;

impl Confirm {
    fn render_plan(
        frame: &Frame,
        title: &'static str,
        plan: Plan,
        back: String,
    ) -> Result<String, PageError> {
        let is_possible = plan.is_ok();
        let plan = plan.unwrap_or_else(|reason| reason);
        Ok(Self { frame: frame.clone(), title, plan, is_possible, back }.render()?)
    }
}

/// The actions, for a caller who may use them.
fn allowed<'a>(page: &'a Page, caller: &Caller) -> Result<&'a Actions, PageError> {
    let forbidden = |text: &str| Err(PageError::Forbidden(text.to_owned()));
    if caller.rights.role != Role::Admin {
        return forbidden("This needs a user or an API key with the role admin.");
    }
    match &page.actions {
        Some(actions) => Ok(actions),
        None => forbidden("This api cannot change anything."),
    }
}

/// Refuses a form of a page of another origin: browsers send credentials with it.
fn from_here(request: &Request) -> Result<(), PageError> {
    let is_from_here = match (request.header("sec-fetch-site"), request.header("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some() && host == request.header("host")
        }
        (None, None) => false,
    };
    if is_from_here {
        return Ok(());
    }
    let refused = "This was not sent by this page. Programs use the commands instead, such as `jetline-fetcher replay`.";
    Err(PageError::Forbidden(refused.to_owned()))
}

/// The answer after an action: the page to look at next, below `/`.
fn done(frame: &Frame, path: Result<String, PageError>) -> Response {
    match path {
        Ok(path) => Response::builder()
            .status(StatusCode::SEE_OTHER)
            .header(header::LOCATION, format!("{}{path}", frame.root))
            .finish(),
        Err(error) => frame.answer(Err(error)).into_response(),
    }
}

#[handler]
pub(super) async fn confirm_dismiss(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path(id): Path<i64>,
) -> Response {
    let frame = page.frame(request, caller, "Objects");
    let plan = async {
        allowed(page, caller)?;
        let object = objects::find(page, caller, id).await?;
        let back = format!("-/objects/{id}");
        Confirm::render_plan(&frame, "Dismiss", dismissal(&object), back)
    };
    frame.answer(plan.await)
}

fn dismissal(object: &ObjectStatus) -> Plan {
    let id = object.id;
    let uri = &object.uri;
    match object.state {
        State::Done => Err(format!("Object {id} is done: there is nothing to dismiss.")),
        State::Failed => Ok(format!(
            "Object {id}, {uri}, has failed. Runs do not report it any more. A replay reads it again."
        )),
        _ if object.error.is_some() => Ok(format!(
            "Object {id}, {uri}, cannot be read. It fails as soon as everything before it has ended, and runs do not report it."
        )),
        _ => Err(format!("Object {id} is open, and nothing says that it cannot be read.")),
    }
}

#[handler]
pub(super) async fn post_dismiss(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path(id): Path<i64>,
) -> Response {
    let frame = page.frame(request, caller, "Objects");
    let dismissed = async {
        from_here(request)?;
        let actions = allowed(page, caller)?;
        objects::find(page, caller, id).await?;
        let object = ObjectId::new(id).ok_or(PageError::Internal)?;
        let ledger = Ledger::new(&actions.database, Utc::now).objects;
        let next_epoch = EpochId::random(&mut rand::rng());
        let how = match classify(ledger.dismiss(object, next_epoch).await)? {
            Dismissal::Dismissed => "dismissed",
            Dismissal::Ending => "ending",
            Dismissal::Unknown | Dismissal::Done | Dismissal::Open => {
                return Err(PageError::BadRequest(
                    "There is nothing to dismiss any more.".to_owned(),
                ));
            }
        };
        tracing::info!(user = caller.name, object = id, "object dismissed");
        Ok(format!("-/objects/{id}?done={how}"))
    };
    done(&frame, dismissed.await)
}

#[handler]
pub(super) async fn confirm_replay(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path(id): Path<i64>,
) -> Response {
    let frame = page.frame(request, caller, "Objects");
    let plan = async {
        let plan = replay_with(page, caller, id, true).await?;
        Confirm::render_plan(&frame, "Replay", plan, format!("-/objects/{id}"))
    };
    frame.answer(plan.await)
}

#[handler]
pub(super) async fn post_replay(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Path(id): Path<i64>,
) -> Response {
    let frame = page.frame(request, caller, "Objects");
    let replayed = async {
        from_here(request)?;
        replay_with(page, caller, id, false).await?.map_err(PageError::BadRequest)?;
        tracing::info!(user = caller.name, object = id, "objects replayed");
        Ok(format!("-/objects/{id}?done=replayed"))
    };
    done(&frame, replayed.await)
}

async fn replay_with(
    page: &Page,
    caller: &Caller,
    id: i64,
    dry_run: bool,
) -> Result<Plan, PageError> {
    let actions = allowed(page, caller)?;
    if caller.datasets().is_some() {
        let of_all =
            "A replay is of all later objects of all datasets, and this user is limited to some.";
        return Err(PageError::Forbidden(of_all.to_owned()));
    }
    objects::find(page, caller, id).await?;
    let object = u32::try_from(id).map_err(|_| PageError::Internal)?;
    let Some(replay) = &actions.replay else {
        return Ok(Err(format!(
            "No fetcher watches the sources here. Where one runs, this shows what would be read again:\n\n\
             jetline-fetcher replay --object {id} --dry-run"
        )));
    };
    let planned = replay.replay(object, dry_run).await.map_err(|error| format!("{error:#}"));
    Ok(planned.map(|plan| shortened(&plan)))
}

/// The lines of a plan, which has one for each object, without those in the middle.
fn shortened(plan: &str) -> String {
    let lines: Vec<&str> = plan.lines().collect();
    let Some(left_out @ 1..) = lines.len().checked_sub(PLAN_LINES) else {
        return plan.to_owned();
    };
    let (first, last) = (&lines[..PLAN_LINES - 1], &lines[lines.len() - 1..]);
    let middle =
        format!("… and {} more", human::count(i64::try_from(left_out).unwrap_or(i64::MAX)));
    [first, &[&*middle], last].concat().join("\n")
}

#[handler]
pub(super) async fn confirm_redeliver(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
) -> Response {
    let frame = page.frame(request, caller, "Deliveries");
    let plan = async {
        allowed(page, caller)?;
        let counts = page.pool.run(page.pool.catalog().delivery_totals()).await?;
        let dead = counts.iter().filter(|one| one.dead > 0 && caller.may_read(&one.dataset));
        let lines: Vec<String> =
            dead.map(|one| format!("{}: {}", one.dataset, counted(one.dead))).collect();
        let plan = if lines.is_empty() {
            Err("No delivery is dead.".to_owned())
        } else {
            Ok(format!(
                "These dead deliveries are made again, with the same ids of messages:\n\n{}",
                lines.join("\n")
            ))
        };
        Confirm::render_plan(&frame, "Deliver again", plan, "-/deliveries".to_owned())
    };
    frame.answer(plan.await)
}

#[handler]
pub(super) async fn post_redeliver(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
) -> Response {
    let frame = page.frame(request, caller, "Deliveries");
    let redelivered = async {
        from_here(request)?;
        let actions = allowed(page, caller)?;
        let outbox = Outbox::new(&actions.database);
        let mut count = 0;
        for dataset in page.served.datasets(caller).await?.iter() {
            for destination in &dataset.destinations {
                count += classify(outbox.redeliver(destination.id, &Redeliver::Dead).await)?;
            }
        }
        tracing::info!(user = caller.name, count, "dead deliveries are made again");
        Ok(format!("-/deliveries?redelivered={count}"))
    };
    done(&frame, redelivered.await)
}
