//! The datasets that are served: those of the ledger, read again from time to time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jetline_datasets::Datasets;
use jetline_runtime::Shutdown;

use crate::{
    auth::Caller,
    database::{Error, ReadPool},
    http::{problem::Failure, response_budget::ResponseBudget},
    records::loader::{RecordCache, RecordLoader},
    refreshed::Refreshed,
};

/// Declarations are read again by the first request after this time.
const MAX_AGE: Duration = Duration::from_secs(5);

/// They are read for an unknown name if they are older than this.
const MAX_AGE_FOR_UNKNOWN: Duration = Duration::from_secs(1);

/// The datasets with their loaders.
#[derive(Clone)]
pub(crate) struct Served(Arc<Inner>);

struct Inner {
    pool: ReadPool,
    budget: ResponseBudget,
    /// The time for which records are cached, and the memory of the cache of each dataset.
    cache: (Duration, usize),
    shutdown: Shutdown,
    state: Refreshed<State>,
}

#[derive(Default)]
struct State {
    datasets: Datasets,
    loaders: HashMap<String, Arc<RecordLoader>>,
}

impl Served {
    pub(crate) fn new(
        pool: ReadPool,
        budget: ResponseBudget,
        cache: (Duration, usize),
        shutdown: Shutdown,
    ) -> Self {
        Self(Arc::new(Inner { pool, budget, cache, shutdown, state: Refreshed::default() }))
    }

    /// The loader of a dataset, if there is such a dataset and the caller may read it.
    pub(crate) async fn loader(
        &self,
        name: &str,
        caller: &Caller,
    ) -> Result<Option<Arc<RecordLoader>>, Error> {
        if !caller.may_read(name) {
            return Ok(None);
        }
        let state = self.0.newer_than(MAX_AGE).await?;
        if let Some(loader) = state.loaders.get(name) {
            return Ok(Some(loader.clone()));
        }
        let state = self.0.newer_than(MAX_AGE_FOR_UNKNOWN).await?;
        Ok(state.loaders.get(name).cloned())
    }

    /// The loader of a dataset, if the declarations were read lately and have it. Reads nothing.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<RecordLoader>> {
        self.0.state.recent(MAX_AGE)?.loaders.get(name).cloned()
    }

    /// Whether a dataset, of which a statement failed, was dropped since the declarations were read.
    pub(crate) async fn is_dropped(&self, name: &str) -> bool {
        let state = self.0.state.as_of_now(|before| self.0.read(before)).await;
        state.is_ok_and(|state| !state.loaders.contains_key(name))
    }

    /// The datasets that the caller may read.
    pub(crate) async fn datasets(&self, caller: &Caller) -> Result<Datasets, Error> {
        let state = self.0.newer_than(MAX_AGE).await?;
        Ok(state.datasets.only(|name| caller.may_read(name)))
    }

    /// The datasets of which a list has entries: the one that is asked for, or else those that the caller is limited to.
    pub(crate) async fn listed(
        &self,
        asked: Option<&String>,
        caller: &Caller,
    ) -> Result<Option<Vec<String>>, Failure> {
        let Some(name) = asked else {
            return Ok(caller.datasets());
        };
        let datasets = self.datasets(caller).await?;
        if datasets.get(name).is_none() {
            let reason = format!("names no dataset; there are: {}", datasets.names());
            return Err(Failure::parameter("dataset", &reason));
        }
        Ok(Some(vec![name.clone()]))
    }
}

impl Inner {
    async fn newer_than(&self, age: Duration) -> Result<Arc<State>, Error> {
        self.state.newer_than(age, |before| self.read(before)).await
    }

    async fn read(&self, before: Arc<State>) -> Result<State, Error> {
        let datasets = self.pool.run(self.pool.database().datasets()).await?;
        let loaders = datasets.iter().map(|dataset| {
            let known = before.loaders.get(&dataset.name);
            let known = known.filter(|known| known.dataset().declaration == dataset.declaration);
            let loader = known.cloned().unwrap_or_else(|| {
                let cache = RecordCache::new(self.cache.0, self.cache.1);
                let (pool, budget) = (&self.pool, &self.budget);
                Arc::new(RecordLoader::start(dataset, pool, budget, cache, &self.shutdown))
            });
            (dataset.name.clone(), loader)
        });
        Ok(State { loaders: loaders.collect(), datasets })
    }
}
