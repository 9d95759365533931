//! The page at `/`, and what moves on all pages.

use std::{sync::Arc, time::Duration};

use askama::Template;
use futures::stream;
use jetline_store::catalog::objects::Filter;
use poem::{
    IntoResponse, Request, Response, handler,
    web::{
        Data, Query,
        sse::{Event, SSE},
    },
};
use serde::Deserialize;
use tokio::{sync::watch, time::timeout};

use super::{
    Page,
    figures::{Plot, Totals},
    frame::{self, Frame, PageError},
    monitor::{LATEST, Sample},
    rows::ObjectRow,
};
use crate::auth::Caller;

/// A line is sent after so long without a change, so that a lost connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The longest time of a stream.
const MAX_STREAM_TIME: Duration = Duration::from_mins(1);

/// The deepest path of a page.
const MAX_DEPTH: usize = 8;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    totals: Totals,
    plot: Plot,
    open: Vec<ObjectRow>,
    latest: Vec<ObjectRow>,
}

#[derive(Template)]
#[template(path = "live.html")]
struct Live {
    root: String,
    totals: Totals,
    plot: Plot,
    open: Vec<ObjectRow>,
    latest: Option<Vec<ObjectRow>>,
    /// The open objects, and those that were until now.
    moved: Vec<ObjectRow>,
}

#[handler]
pub(super) async fn show_overview(
    request: &Request,
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
) -> Response {
    let frame = page.frame(request, caller, "Overview");
    frame.answer(render(page, caller, &frame).await)
}

async fn render(page: &Page, caller: &Caller, frame: &Frame) -> Result<String, PageError> {
    let sample = page.monitor.sample().await;
    let filter = Filter { datasets: caller.datasets(), ..Filter::default() };
    let latest = page.pool.run(page.pool.catalog().latest_objects(&filter, None, LATEST)).await?;
    let overview = Overview {
        frame: frame.clone(),
        totals: Totals::of(&sample, caller),
        plot: Plot::of(&sample, caller),
        open: sample.rows(&sample.open, caller),
        latest: sample.rows(&latest, caller),
    };
    Ok(overview.render()?)
}

#[derive(Deserialize)]
struct LiveQuery {
    depth: usize,
}

/// What changes, as server-sent events: fragments of pages, whose elements have the ids of those that they replace.
#[handler]
pub(super) fn stream_changes(
    Data(page): Data<&Arc<Page>>,
    Data(caller): Data<&Caller>,
    Query(query): Query<LiveQuery>,
) -> Response {
    let Ok(slot) = page.streams.clone().try_acquire_owned() else {
        let busy = "too many pages are open";
        return crate::http::problem::Failure::unavailable(busy.to_owned()).into_response();
    };
    let root = frame::root(query.depth.min(MAX_DEPTH));
    let state = (page.monitor.subscribe(), caller.clone(), root, String::new(), slot);
    let events = stream::unfold(state, |(mut samples, caller, root, last, slot)| async move {
        let text = changed(&mut samples, &caller, &root, &last).await?;
        Some((Event::message(text.clone()), (samples, caller, root, text, slot)))
    });
    let ended = page.ended.clone();
    let end = async move {
        // Then the browser asks again, and its rights are checked again.
        let _ = timeout(MAX_STREAM_TIME, ended.cancelled()).await;
    };
    let events = futures::StreamExt::take_until(events, end);
    SSE::new(events).keep_alive(KEEP_ALIVE).into_response()
}

/// The next fragments that differ from the last ones.
async fn changed(
    samples: &mut watch::Receiver<Arc<Sample>>,
    caller: &Caller,
    root: &str,
    last: &str,
) -> Option<String> {
    loop {
        samples.changed().await.ok()?;
        let sample = samples.borrow_and_update().clone();
        let ended = sample.rows(&sample.ended, caller);
        let open = sample.rows(&sample.open, caller);
        let moved = sample.rows(&sample.open, caller).into_iter().chain(ended).collect();
        // Those of a caller with few datasets may be older.
        let is_limited = caller.datasets().is_some();
        let latest = (!is_limited).then(|| sample.rows(&sample.latest, caller));
        let live = Live {
            root: root.to_owned(),
            totals: Totals::of(&sample, caller),
            plot: Plot::of(&sample, caller),
            open,
            latest,
            moved,
        };
        match live.render() {
            Ok(text) if text == last => {}
            Ok(text) => return Some(text),
            Err(error) => {
                tracing::error!(error = jetline_runtime::causes(&error), "render page failed");
                return None;
            }
        }
    }
}
