//! The endpoints of deliveries.

use chrono::{DateTime, Utc};
use jetline_datasets::ChangeKind;
use jetline_store::{
    catalog::deliveries::{CancelledDelivery, Cursor, DeliveryStatus, Filter},
    outbox::DeliveryState,
};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi, Tags,
    param::{Path, Query},
};
use serde::Serialize;

use crate::{
    auth::Caller,
    database::ReadPool,
    http::{
        json::SerdeJson,
        paging::{Listing, Page, default_limit},
        problem::{Failure, ProblemJson},
        response_budget::{PART_BYTES, ResponseBudget},
    },
    records::{Served, no_dataset, parameters},
};

/// Memory of a delivery in a response, at most: its key and its error, as text and as JSON.
const DELIVERY_BYTES: usize = 8 << 10;

/// Maximum number of destinations of a record that are shown.
const MAX_DESTINATIONS: u64 = 100;

/// Serves what is delivered to destinations.
pub(crate) struct DeliveryApi {
    pub(crate) served: Served,
    pub(crate) pool: ReadPool,
    pub(crate) budget: ResponseBudget,
}

#[derive(Tags)]
enum Sections {
    /// What is delivered to destinations.
    #[oai(rename = "deliveries")]
    Deliveries,
}

/// What a destination is to know of a record, and what became of it.
#[derive(Object, Serialize)]
#[oai(rename = "Delivery")]
struct DeliveryView {
    #[oai(skip)]
    #[serde(skip)]
    destination_id: i64,
    /// The name of the destination.
    destination: String,
    /// The dataset.
    dataset: String,
    /// The record's id, as a text.
    id: String,
    /// The change.
    change: Change,
    /// The state.
    state: State,
    /// The sequence of the content: of two contents of a record, the newer one has the greater text.
    sequence: String,
    /// When the next attempt may begin, if it waits. While an attempt is under way: when that one is taken for failed.
    due_at: Option<DateTime<Utc>>,
    /// How often this content was attempted.
    attempts: i64,
    /// The HTTP status of the last answer.
    status: Option<i64>,
    /// Why the last attempt failed; 1 KiB at most.
    error: Option<String>,
    /// When it was delivered or dead.
    ended_at: Option<DateTime<Utc>>,
}

/// The deliveries of a record.
#[derive(Object, Serialize)]
#[oai(rename = "RecordDeliveries")]
struct RecordDeliveriesView {
    /// One for each destination.
    deliveries: Vec<DeliveryView>,
    /// Deliveries with a delay that were not made because of a newer content, the latest first; 100 at most.
    cancelled: Vec<CancelledView>,
}

/// A delivery that was not made because of a newer content.
#[derive(Object, Serialize)]
#[oai(rename = "CancelledDelivery")]
struct CancelledView {
    /// The name of the destination.
    destination: String,
    /// The sequence of its content.
    sequence: String,
    /// The version of its content; 0 in a dataset without versions.
    version: i64,
    /// The sequence of the newer content.
    by_sequence: String,
    /// The version of the newer content.
    by_version: i64,
    /// When.
    cancelled_at: DateTime<Utc>,
}

/// A change of a record.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(remote = "ChangeKind", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum Change {
    /// The record is new to the destination.
    Inserted,
    /// The destination knows an earlier content.
    Updated,
    /// The record was deleted.
    Deleted,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, Enum, Serialize)]
#[oai(rename = "DeliveryState", remote = "DeliveryState", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is to be delivered when it is due.
    Waiting,
    /// The destination acknowledged it.
    Delivered,
    /// It was refused, or too old: it is delivered again only by command, or when the record changes.
    Dead,
    /// The destination does not want such changes.
    Ignored,
}

#[derive(ApiResponse)]
enum GetDeliveries {
    /// The deliveries.
    #[oai(status = 200)]
    Found(SerdeJson<RecordDeliveriesView>),
    /// There is no such dataset.
    #[oai(status = 404)]
    NotFound(ProblemJson),
}

#[OpenApi]
impl DeliveryApi {
    /// The deliveries, in the order of destination and id.
    #[oai(
        path = "/deliveries",
        method = "get",
        operation_id = "list_deliveries",
        tag = "Sections::Deliveries"
    )]
    async fn list(
        &self,
        caller: Data<&Caller>,
        /// Only those in this state.
        state: Query<Option<State>>,
        /// Only those to destinations of this name.
        destination: Query<Option<String>>,
        /// Only those of this dataset.
        dataset: Query<Option<String>>,
        /// Only those after this one, from the link of the page before.
        after: Query<Option<String>>,
        /// How many at most.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
    ) -> Result<Page<DeliveryView>, Failure> {
        let after = after.0.as_deref().map(cursor).transpose()?;
        if destination.0.as_deref().is_some_and(|name| name.contains('\0')) {
            return Err(Failure::parameter("destination", "has U+0000, which no name has"));
        }
        let filter = Filter {
            state: state.0.map(DeliveryState::from),
            destination: destination.0.clone(),
            datasets: self.served.listed(dataset.0.as_ref(), caller.0).await?,
            key: None,
        };
        let limit = limit.0;
        let entries = usize::try_from(limit).unwrap_or(usize::MAX);
        let memory = self.budget.reserve(PART_BYTES.max(entries * DELIVERY_BYTES)).await?;
        let statement = self.pool.catalog().deliveries(&filter, after, limit + 1);
        let mut found = self.pool.run(statement).await?;
        let has_more = found.len() > entries;
        found.truncate(entries);
        let filter = [
            ("state", filter.state.map(|state| state.name().to_owned())),
            ("destination", destination.0),
            ("dataset", dataset.0),
        ];
        let listing = Listing {
            filter: filter.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            limit,
            entries: found.into_iter().map(DeliveryView::from).collect(),
            has_more,
        };
        listing.page(memory, |delivery| format!("{}.{}", delivery.destination_id, delivery.id))
    }

    /// The deliveries of one record.
    #[oai(path = "/:dataset/:id/deliveries", method = "get", operation_id = "deliveries")]
    async fn of_record(
        &self,
        caller: Data<&Caller>,
        dataset: Path<String>,
        /// The record's id.
        id: Path<String>,
    ) -> Result<GetDeliveries, Failure> {
        let Some(loader) = self.served.loader(&dataset.0, caller.0).await? else {
            return Ok(GetDeliveries::NotFound(no_dataset(&dataset.0)));
        };
        let key = parameters::key(loader.dataset(), "id", &id.0)?.to_string();
        let catalog = self.pool.catalog();
        let filter = Filter {
            datasets: Some(vec![dataset.0.clone()]),
            key: Some(key.clone()),
            ..Filter::default()
        };
        let deliveries = self.pool.run(catalog.deliveries(&filter, None, MAX_DESTINATIONS)).await?;
        let cancelled = self.pool.run(catalog.cancelled_deliveries(&dataset.0, &key)).await?;
        Ok(GetDeliveries::Found(SerdeJson::new(&RecordDeliveriesView {
            deliveries: deliveries.into_iter().map(DeliveryView::from).collect(),
            cancelled: cancelled.into_iter().map(CancelledView::from).collect(),
        })?))
    }
}

fn cursor(text: &str) -> Result<Cursor, Failure> {
    let parts = Some(text).filter(|text| !text.contains('\0'));
    let parts = parts.and_then(|text| text.split_once('.')).and_then(|(destination, key)| {
        Some(Cursor { destination: destination.parse().ok()?, key: key.to_owned() })
    });
    parts.ok_or_else(|| Failure::parameter("after", "is not from the link of a page"))
}

impl From<DeliveryStatus> for DeliveryView {
    fn from(delivery: DeliveryStatus) -> Self {
        Self {
            destination_id: delivery.destination_id,
            destination: delivery.destination,
            dataset: delivery.dataset,
            id: delivery.key,
            change: delivery.kind.into(),
            state: delivery.state.into(),
            sequence: delivery.rank.sequence(),
            due_at: delivery.due_at,
            attempts: delivery.attempts,
            status: delivery.status,
            error: delivery.error,
            ended_at: delivery.ended_at,
        }
    }
}

impl From<CancelledDelivery> for CancelledView {
    fn from(cancelled: CancelledDelivery) -> Self {
        Self {
            destination: cancelled.destination,
            sequence: cancelled.rank.sequence(),
            version: cancelled.rank.version,
            by_sequence: cancelled.by.sequence(),
            by_version: cancelled.by.version,
            cancelled_at: cancelled.at,
        }
    }
}
