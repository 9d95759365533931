//! The status page, for people: what is loaded, rejected and delivered. The server renders it, and a script shows what changes.
//!
//! Its paths are `/` and those below `/-/`, which no dataset can have.

mod actions;
mod assets;
mod datasets;
mod deliveries;
mod figures;
mod frame;
mod monitor;
mod objects;
mod overview;
mod requested_replay;
mod rows;

use std::sync::Arc;

pub use actions::{Actions, Replay};
use jetline_runtime::Shutdown;
use poem::{Endpoint, EndpointExt, Request, Route, get, http::Uri};
pub use requested_replay::RequestedReplay;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded::Serializer;

use self::{
    frame::{Frame, PageError},
    monitor::Monitor,
};
use crate::{
    auth::Caller, database::ReadPool, http::response_budget::ResponseBudget, records::Served,
};

/// Maximum number of pages that are shown what changes, and half of all connections at most.
const MAX_STREAMS: usize = 200;

/// The path of the page at `/`, where the API's own routes would hide it.
const OVERVIEW: &str = "/-/overview";

/// Whether a path is one of the page.
pub(crate) fn is_of_page(path: &str) -> bool {
    path == "/" || path.starts_with("/-/")
}

/// Marks a request for `/`.
#[derive(Clone, Copy)]
struct AtRoot;

/// Answers `/` with the overview.
pub(crate) async fn with_overview<E: Endpoint>(
    endpoint: Arc<E>,
    mut request: Request,
) -> poem::Result<E::Output> {
    if request.uri().path() == "/" {
        *request.uri_mut() = Uri::from_static(OVERVIEW);
        request.set_data(AtRoot);
    }
    endpoint.call(request).await
}

/// What pages are made of.
pub(crate) struct Page {
    served: Served,
    pool: ReadPool,
    budget: ResponseBudget,
    monitor: Arc<Monitor>,
    actions: Option<Actions>,
    streams: Arc<Semaphore>,
    /// Cancelled when the service ends.
    ended: CancellationToken,
}

impl Page {
    /// To be called in a tokio runtime.
    pub(crate) fn start(
        (served, pool, budget): (Served, ReadPool, ResponseBudget),
        actions: Option<Actions>,
        connections: usize,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        Arc::new(Self {
            monitor: Monitor::start(pool.clone(), shutdown),
            served,
            pool,
            budget,
            actions,
            streams: Arc::new(Semaphore::new(MAX_STREAMS.min(connections / 2))),
            ended: shutdown.soft.clone(),
        })
    }

    /// Adds the pages.
    pub(crate) fn routes(self: &Arc<Self>, route: Route) -> Route {
        let page = || self.clone();
        let of = |endpoint: poem::RouteMethod| endpoint.data(page());
        route
            .at(OVERVIEW, of(get(overview::show_overview)))
            .at("/-/live", of(get(overview::stream_changes)))
            .at("/-/objects", of(get(objects::show_objects)))
            .at("/-/objects/:id", of(get(objects::show_object)))
            .at("/-/objects/:id/rejects/:line", of(get(objects::show_reject)))
            .at(
                "/-/objects/:id/dismiss",
                of(get(actions::confirm_dismiss).post(actions::post_dismiss)),
            )
            .at(
                "/-/objects/:id/replay",
                of(get(actions::confirm_replay).post(actions::post_replay)),
            )
            .at("/-/datasets", of(get(datasets::show_datasets)))
            .at("/-/datasets/:name", of(get(datasets::show_dataset)))
            .at("/-/datasets/:name/record", of(get(datasets::show_record)))
            .at("/-/deliveries", of(get(deliveries::show_deliveries)))
            .at(
                "/-/deliveries/redeliver",
                of(get(actions::confirm_redeliver).post(actions::post_redeliver)),
            )
            .at("/-/assets/:name", get(assets::get_asset))
    }

    fn frame(&self, request: &Request, caller: &Caller, section: &'static str) -> Frame {
        Frame::new(request, caller, section, self.actions.is_some())
    }

    /// The names of the datasets that the caller may read.
    async fn datasets(&self, caller: &Caller) -> Result<Vec<String>, PageError> {
        let datasets = self.served.datasets(caller).await?;
        Ok(datasets.iter().map(|dataset| dataset.name.clone()).collect())
    }
}

/// The datasets of which a list has entries: the chosen one, or else those that the caller is limited to.
fn chosen(name: &str, all: &[String], caller: &Caller) -> Result<Option<Vec<String>>, PageError> {
    if name.is_empty() {
        return Ok(caller.datasets());
    }
    let known = all.iter().find(|known| *known == name);
    let known = known.ok_or_else(|| PageError::NotFound(format!("dataset {name}")))?;
    Ok(Some(vec![known.clone()]))
}

/// The link to the next page of a list: the filters that are set, and where it begins.
fn next_page(filter: &[(&str, &String)], cursor: &str, at: &str) -> String {
    let set = filter.iter().filter(|(_, value)| !value.is_empty());
    let query = Serializer::new(String::new()).extend_pairs(set).append_pair(cursor, at).finish();
    format!("?{query}")
}
