//! The page of deliveries.

use std::{collections::BTreeSet, sync::Arc};

use askama::Template;
use jetline_store::{
    catalog::deliveries::{Cursor, DeliveryStatus, Filter},
    outbox::DeliveryState,
};
use poem::{
    Request, Response, handler,
    web::{Data, Query},
};
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use super::{
    Page, chosen,
    frame::{Frame, PageError},
    next_page,
    rows::time,
};
use crate::auth::Caller;

/// Number of deliveries on a page.
const DELIVERIES: usize = 50;

const STATES: [DeliveryState; 4] =
    [DeliveryState::Waiting, DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Ignored];

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    state: String,
    #[serde(default)]
    destination: String,
    #[serde(default)]
    dataset: String,
    after: Option<String>,
    /// How many are delivered again.
    redelivered: Option<u64>,
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct Deliveries {
    frame: Frame,
    done: Option<String>,
    states: [&'static str; 4],
    state: String,
    destinations: BTreeSet<String>,
    destination: String,
    datasets: Vec<String>,
    dataset: String,
    rows: Vec<DeliveryRow>,
    next: Option<String>,
}

/// A delivery.
pub(super) struct DeliveryRow {
    pub(super) destination: String,
    pub(super) dataset: String,
    pub(super) key: String,
    pub(super) key_parameter: String,
    pub(super) change: &'static str,
    pub(super) state: &'static str,
    pub(super) attempts: i64,
    pub(super) status: String,
    pub(super) error: String,
    /// When it is due, or ended.
    pub(super) time: String,
}

impl DeliveryRow {
    pub(super) fn new(delivery: &DeliveryStatus) -> Self {
        let at = delivery.ended_at.or(delivery.due_at);
        Self {
            destination: delivery.destination.clone(),
            dataset: delivery.dataset.clone(),
            key: delivery.key.clone(),
            key_parameter: byte_serialize(delivery.key.as_bytes()).collect(),
            change: delivery.kind.name(),
            state: delivery.state.name(),
            attempts: delivery.attempts,
            status: delivery.status.map_or("–".to_owned(), |status| status.to_string()),
            error: delivery.error.clone().unwrap_or_default(),
            time: at.map_or("–".to_owned(), time),
        }
    }
}

#[handler]
pub(super) async fn show_deliveries(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Query(query): Query<ListQuery>,
) -> Response {
    let frame = page.frame(request, caller, "Deliveries");
    frame.answer(render(page, caller, &frame, query).await)
}

async fn render(
    page: &Page,
    caller: &Caller,
    frame: &Frame,
    query: ListQuery,
) -> Result<String, PageError> {
    let datasets = page.datasets(caller).await?;
    let state = STATES.into_iter().find(|state| state.name() == query.state);
    if state.is_none() && !query.state.is_empty() || query.destination.contains('\0') {
        return Err(PageError::BadRequest("There is no such state or destination.".to_owned()));
    }
    let filter = Filter {
        state,
        destination: Some(query.destination.clone()).filter(|name| !name.is_empty()),
        datasets: chosen(&query.dataset, &datasets, caller)?,
        key: None,
    };
    let after = query.after.as_deref().map(cursor).transpose()?;
    let limit = DELIVERIES as u64 + 1;
    let statement = page.pool.catalog().deliveries(&filter, after, limit);
    let mut found = page.pool.run(statement).await?;
    let has_more = found.len() > DELIVERIES;
    found.truncate(DELIVERIES);
    let next = found.last().filter(|_| has_more).map(|last| {
        let filter = [
            ("state", &query.state),
            ("destination", &query.destination),
            ("dataset", &query.dataset),
        ];
        next_page(&filter, "after", &format!("{}.{}", last.destination_id, last.key))
    });
    let declared = page.served.datasets(caller).await?;
    let destinations = declared.iter().flat_map(|dataset| &dataset.destinations);
    let deliveries = Deliveries {
        frame: frame.clone(),
        done: query.redelivered.map(|count| format!("To be delivered again: {count}.")),
        states: STATES.map(DeliveryState::name),
        state: query.state,
        destinations: destinations.map(|one| one.name.clone()).collect(),
        destination: query.destination,
        datasets,
        dataset: query.dataset,
        rows: found.iter().map(DeliveryRow::new).collect(),
        next,
    };
    Ok(deliveries.render()?)
}

fn cursor(text: &str) -> Result<Cursor, PageError> {
    let parts = Some(text).filter(|text| !text.contains('\0'));
    let parts = parts.and_then(|text| text.split_once('.')).and_then(|(destination, key)| {
        Some(Cursor { destination: destination.parse().ok()?, key: key.to_owned() })
    });
    parts.ok_or_else(|| PageError::BadRequest("This is not the link of a page.".to_owned()))
}
