//! Loads records by id, with request coalescing: requests that wait while a statement is in flight share the next one.
//!
//! No timer is involved: a single request is loaded at once, and with more waiting requests statements become larger.
//! Records are cached for a short time, unless they are large; of several requests for the same id, one is loaded.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use jetline_core::Key;
use jetline_datasets::Dataset;
use jetline_runtime::{Shutdown, metrics::API_BATCH_IDS};
use jetline_store::catalog::{Finder, records::StoredRecord};
use metrics::histogram;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout},
};

use crate::{
    database::{Error, Kept, ReadPool},
    http::response_budget::ResponseBudget,
    records::{cache::Cache, rendered::Rendered},
};

/// Maximum number of statements in flight per dataset.
const WORKERS: usize = 2;
/// Maximum number of ids in a statement.
const MAX_IDS: usize = 128;
/// After this time without a request, a worker returns its connection to the pool.
const MAX_IDLE: Duration = Duration::from_secs(1);
/// Capacity of the queue of requests.
const QUEUE_CAPACITY: usize = 1024;

/// Loads records of one dataset, many at a time.
pub(crate) struct RecordLoader {
    dataset: Arc<Dataset>,
    requests: mpsc::Sender<LoadRequest>,
    cache: Arc<RecordCache>,
}

/// A record; `None` where there is none with the id.
type Loaded = Option<Arc<Rendered>>;

/// The cache of loaded records, and of ids without a record.
pub(crate) type RecordCache = Cache<Loaded>;

struct LoadRequest {
    key: Key,
    reply: oneshot::Sender<Result<Loaded, Error>>,
}

impl RecordLoader {
    /// Starts the workers; they end with the loader, or with the hard shutdown.
    pub(crate) fn start(
        dataset: &Arc<Dataset>,
        pool: &ReadPool,
        budget: &ResponseBudget,
        cache: RecordCache,
        shutdown: &Shutdown,
    ) -> Self {
        let (requests, waiting) = mpsc::channel(QUEUE_CAPACITY);
        let waiting = Arc::new(Mutex::new(waiting));
        let cache = Arc::new(cache);
        for _ in 0..WORKERS {
            let (finder, kept) = pool.finder(dataset);
            let worker = Worker {
                dataset: dataset.clone(),
                requests: waiting.clone(),
                finder,
                _kept: kept,
                pool: pool.clone(),
                budget: budget.clone(),
                cache: cache.clone(),
            };
            let hard = shutdown.hard.clone();
            shutdown
                .tasks
                .spawn(async move { hard.run_until_cancelled(Box::pin(worker.run())).await });
        }
        Self { dataset: dataset.clone(), requests, cache }
    }

    /// Its dataset.
    pub(crate) fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// Loads the record with this key, if there is one.
    pub(crate) async fn load(&self, key: Key) -> Result<Loaded, Error> {
        if let Some(loaded) = self.cache.get(&key, Instant::now()) {
            return Ok(loaded);
        }
        let (reply, result) = oneshot::channel();
        // Either fails only when the workers have ended, or the statement has panicked.
        self.requests.send(LoadRequest { key, reply }).await.map_err(|_| Error::Unavailable)?;
        result.await.map_err(|_| Error::Failed)?
    }
}

struct Worker {
    dataset: Arc<Dataset>,
    requests: Arc<Mutex<mpsc::Receiver<LoadRequest>>>,
    finder: Finder,
    _kept: Option<Kept>,
    pool: ReadPool,
    budget: ResponseBudget,
    cache: Arc<RecordCache>,
}

impl Worker {
    async fn run(mut self) {
        loop {
            let requests = self.next().await;
            if requests.is_empty() {
                return;
            }
            // A panic ends this batch and not the worker: its connection is dropped, and no other state is affected.
            let loading = AssertUnwindSafe(self.load_batch(requests));
            if loading.catch_unwind().await.is_err() {
                tracing::error!(dataset = self.dataset.name, "load records panicked");
            }
        }
    }

    /// The next batch of requests. A kept connection is returned to the pool when none comes for a while.
    async fn next(&mut self) -> Vec<LoadRequest> {
        if self.finder.is_keeping() {
            if let Ok(requests) = timeout(MAX_IDLE, self.receive()).await {
                return requests;
            }
            self.finder.release();
        }
        self.receive().await
    }

    /// Waits for requests; none when the loader was dropped. Cancel-safe.
    async fn receive(&self) -> Vec<LoadRequest> {
        let mut requests = Vec::new();
        let mut waiting = self.requests.lock().await;
        waiting.recv_many(&mut requests, MAX_IDS).await;
        requests
    }

    async fn load_batch(&mut self, requests: Vec<LoadRequest>) {
        let queried = Instant::now();
        let requests = self.pending(requests, queried);
        let mut keys = HashSet::with_capacity(requests.len());
        keys.extend(requests.iter().map(|request| &request.key));
        if keys.is_empty() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most MAX_IDS")]
        histogram!(API_BATCH_IDS, "dataset" => self.dataset.name.clone()).record(keys.len() as f64);
        // Row by row: a large record is refused before too much memory is in use.
        let mut found = HashMap::new();
        let render = |record: StoredRecord| {
            let rendered = Rendered::of(&self.dataset, &record, &self.budget).map(Arc::new);
            found.insert(record.key, rendered);
        };
        let asked = keys.iter().map(|key| (*key).clone()).collect();
        let failure = self.pool.run(self.finder.find(asked, render)).await.err();
        let loaded = |key: &Key| match failure {
            Some(error) => Err(error),
            None => found.get(key).cloned().transpose(),
        };
        for key in keys {
            if let Ok(loaded) = loaded(key)
                && loaded.as_ref().is_none_or(|record| record.is_small())
            {
                let bytes = loaded.as_ref().map_or(0, |record| record.bytes());
                self.cache.put(key.clone(), loaded, bytes, queried);
            }
        }
        for request in requests {
            // The caller may have been cancelled.
            let _ = request.reply.send(loaded(&request.key));
        }
    }

    /// The requests that are not cancelled and not answered by the cache meanwhile.
    fn pending(&self, requests: Vec<LoadRequest>, now: Instant) -> Vec<LoadRequest> {
        let mut pending = Vec::with_capacity(requests.len());
        for request in requests {
            if request.reply.is_closed() {
                continue;
            }
            match self.cache.get(&request.key, now) {
                Some(loaded) => drop(request.reply.send(Ok(loaded))),
                None => pending.push(request),
            }
        }
        pending
    }
}
