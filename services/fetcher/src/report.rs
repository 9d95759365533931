//! The summary of a run: the state and counts of every object, from the ledger.

mod json;
mod status;
mod summary;
mod table;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use jetline_core::ObjectId;
use jetline_source::Skipped;
use jetline_store::{
    Catalog, Error, ObjectState as State,
    catalog::{
        objects::{Filter, ObjectStatus},
        rejects::RejectSummary,
    },
};

pub use self::status::StatusSettings;
pub(crate) use self::{status::status, summary::write_skipped};
use crate::ListingResult;

/// How many objects one query returns at most.
const PAGE_SIZE: u64 = 1000;

/// How many of the objects that had failed before the run are shown at most.
const MAX_FAILED_SHOWN: usize = 10;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether the sources were listed before the run was interrupted.
    pub is_listed: bool,
    /// Objects of the sources, without skipped and deferred ones.
    pub listed: usize,
    /// The objects that were open when the run began or were new, in their order.
    pub objects: Vec<ObjectStatus>,
    /// How many of the other listed objects have failed and are not dismissed.
    pub failed_before: usize,
    /// The duration of the run.
    pub elapsed: Duration,
    /// Lines of the objects that were committed before the run, if they were counted.
    pub(crate) lines_before: Option<i64>,
    /// Entries of the sources that are not taken.
    pub skipped: Skipped,
    /// The locations that match no object.
    pub missing: Vec<String>,
    /// The first of the objects that had failed before.
    first_failed: Vec<ObjectStatus>,
    /// The rejected lines, by object.
    rejects: HashMap<i64, RejectSummary>,
}

impl Report {
    /// Reads the objects' state from the ledger.
    pub(crate) async fn read(
        catalog: &Catalog,
        registered: Option<&ListingResult>,
        wanted: &[ObjectId],
        elapsed: Duration,
    ) -> Result<Self, Error> {
        let mut report = Self {
            is_listed: registered.is_some(),
            listed: registered.map_or(0, |registered| registered.listed),
            elapsed,
            ..Self::default()
        };
        report.read_objects(catalog, wanted).await?;
        if let Some(registered) = registered {
            let before: BTreeSet<ObjectId> = registered
                .failed
                .iter()
                .filter(|object| wanted.binary_search(object).is_err())
                .copied()
                .collect();
            report.read_failed(catalog, &before).await?;
        }
        Ok(report)
    }

    async fn read_objects(&mut self, catalog: &Catalog, wanted: &[ObjectId]) -> Result<(), Error> {
        let mut after = wanted.first().map(|first| first.get() - 1);
        while let Some(page) = page(catalog, &Filter::default(), &mut after).await? {
            let page = page.into_iter().filter(|object| {
                ObjectId::new(object.id).is_some_and(|id| wanted.binary_search(&id).is_ok())
            });
            let page: Vec<ObjectStatus> = page.collect();
            self.rejects.extend(rejects(catalog, &page).await?);
            self.objects.extend(page);
        }
        Ok(())
    }

    /// Reads which of `before` have failed and are not dismissed.
    async fn read_failed(
        &mut self,
        catalog: &Catalog,
        before: &BTreeSet<ObjectId>,
    ) -> Result<(), Error> {
        let failed =
            Filter { state: Some(State::Failed), dismissed: Some(false), ..Filter::default() };
        let mut after = before.first().map(|first| first.get() - 1);
        while let Some(page) = page(catalog, &failed, &mut after).await? {
            for object in page {
                if ObjectId::new(object.id).is_some_and(|id| before.contains(&id)) {
                    self.failed_before += 1;
                    if self.first_failed.len() < MAX_FAILED_SHOWN {
                        self.first_failed.push(object);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether every object is done or dismissed, and nothing was unreadable or missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let nothing_left_out = self.skipped.unreadable() == 0 && self.missing.is_empty();
        self.is_listed
            && nothing_left_out
            && self.failed_before == 0
            && self.objects.iter().all(counts_as_complete)
    }
}

fn counts_as_complete(object: &ObjectStatus) -> bool {
    match object.state {
        State::Done => true,
        State::Failed => object.dismissed,
        State::Registered | State::Reading | State::Loading => false,
    }
}

/// The summaries of the rejected lines of a page of objects.
async fn rejects(
    catalog: &Catalog,
    page: &[ObjectStatus],
) -> Result<HashMap<i64, RejectSummary>, Error> {
    let rejected = page.iter().filter(|object| object.rejected > 0);
    let rejected: Vec<i64> = rejected.map(|object| object.id).collect();
    catalog.reject_summaries(&rejected).await
}

/// The next page of objects after the id `after`, which it updates; `None` after the last page.
async fn page(
    catalog: &Catalog,
    filter: &Filter,
    after: &mut Option<i64>,
) -> Result<Option<Vec<ObjectStatus>>, Error> {
    let Some(last) = *after else {
        return Ok(None);
    };
    let page = catalog.objects(filter, Some(last), PAGE_SIZE).await?;
    *after = page.last().map(|object| object.id);
    Ok(Some(page))
}
