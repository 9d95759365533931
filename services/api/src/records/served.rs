//! The datasets that are served: those of the ledger, read again from time to time.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jetline_datasets::Datasets;
use jetline_runtime::Shutdown;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    database::{Error, ReadPool},
    http::response_budget::ResponseBudget,
    records::loader::{RecordCache, RecordLoader},
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
    state: RwLock<Arc<State>>,
    reading: Mutex<()>,
}

#[derive(Default)]
struct State {
    datasets: Datasets,
    loaders: HashMap<String, Arc<RecordLoader>>,
    read_at: Option<Instant>,
}

impl State {
    fn is_older_than(&self, age: Duration) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() >= age)
    }
}

impl Served {
    pub(crate) fn new(
        pool: ReadPool,
        budget: ResponseBudget,
        cache: (Duration, usize),
        shutdown: Shutdown,
    ) -> Self {
        let state = RwLock::default();
        Self(Arc::new(Inner { pool, budget, cache, shutdown, state, reading: Mutex::default() }))
    }

    /// The loader of a dataset, if there is such a dataset.
    pub(crate) async fn loader(&self, name: &str) -> Result<Option<Arc<RecordLoader>>, Error> {
        let state = self.0.newer_than(MAX_AGE).await?;
        if let Some(loader) = state.loaders.get(name) {
            return Ok(Some(loader.clone()));
        }
        let state = self.0.newer_than(MAX_AGE_FOR_UNKNOWN).await?;
        Ok(state.loaders.get(name).cloned())
    }

    /// Whether a dataset, of which a statement failed, was dropped since the declarations were read.
    pub(crate) async fn is_dropped(&self, name: &str) -> bool {
        let failed_at = Instant::now();
        // Requests that fail together wait for one of them, which reads the declarations.
        let _reading = self.0.reading.lock().await;
        let state = self.0.state();
        let state = if state.read_at.is_some_and(|at| at >= failed_at) {
            Ok(state)
        } else {
            self.0.read(&state).await
        };
        state.is_ok_and(|state| !state.loaders.contains_key(name))
    }

    /// The datasets.
    pub(crate) async fn datasets(&self) -> Result<Datasets, Error> {
        Ok(self.0.newer_than(MAX_AGE).await?.datasets.clone())
    }
}

impl Inner {
    fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state, read again if it is older. One request does that, and the others do not wait for it, except for the first
    /// time. What was read before is served while the database is not available.
    async fn newer_than(&self, age: Duration) -> Result<Arc<State>, Error> {
        let state = self.state();
        if !state.is_older_than(age) {
            return Ok(state);
        }
        let _reading = if state.read_at.is_some() {
            match self.reading.try_lock() {
                Ok(reading) => reading,
                Err(_) => return Ok(state),
            }
        } else {
            self.reading.lock().await
        };
        let state = self.state();
        if !state.is_older_than(age) {
            return Ok(state);
        }
        self.read(&state).await
    }

    async fn read(&self, state: &State) -> Result<Arc<State>, Error> {
        match self.pool.run(self.pool.database().datasets()).await {
            Ok(datasets) => Ok(self.replace(datasets)),
            Err(_) if state.read_at.is_some() => Ok(self.keep()),
            Err(error) => Err(error),
        }
    }

    /// Keeps what was read before, until it is read again.
    fn keep(&self) -> Arc<State> {
        let State { datasets, loaders, .. } = &*self.state();
        self.set(State {
            datasets: datasets.clone(),
            loaders: loaders.clone(),
            read_at: Some(Instant::now()),
        })
    }

    fn set(&self, state: State) -> Arc<State> {
        let state = Arc::new(state);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state.clone();
        state
    }

    fn replace(&self, datasets: Datasets) -> Arc<State> {
        let before = self.state();
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
        let loaders = loaders.collect();
        self.set(State { loaders, datasets, read_at: Some(Instant::now()) })
    }
}
