//! Reads that coalesce: what waits while a statement is in flight goes into the next one.
//!
//! No timer is involved: a lone request is read at once, and the more wait, the larger the statements become. What was
//! read is given to whoever asks for it within the cache's time, unless it is large; of those who wait for the same id, one
//! is read.

use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use jetline_records::{Key, Record, RecordId};
use jetline_runtime::{Shutdown, metrics::API_BATCH_IDS};
use jetline_store::read::{Finder, records::Found};
use metrics::histogram;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout},
};

use crate::{
    answers::Answers,
    cache::Cache,
    database::{Error, Reads},
    rendered::Rendered,
};

/// Statements in flight per dataset.
const READERS: usize = 2;
/// Ids in a statement, at most.
const MAX_IDS: usize = 128;
/// After so long without a request, others may have the reader's connection.
const IDLE: Duration = Duration::from_secs(1);
/// Requests that wait to be read, at most; more of them wait in front.
const WAITING: usize = 1024;

/// Finds records of one dataset, many at a time.
pub(crate) struct Lookup<R: Record> {
    asks: mpsc::Sender<Ask<R>>,
    recent: Arc<Recent>,
}

/// A record, or nothing where there is none.
type Outcome = Option<Arc<Rendered>>;

/// What was read a moment ago. That there is no record is kept as well.
pub(crate) type Recent = Cache<Outcome>;

struct Ask<R: Record> {
    id: R::Id,
    key: Key,
    reply: oneshot::Sender<Result<Outcome, Error>>,
}

impl<R: Record> Lookup<R> {
    /// Starts the readers; they end with the lookup, or with the hard shutdown.
    pub(crate) fn start(
        reads: &Reads,
        answers: &Answers,
        recent: Recent,
        shutdown: &Shutdown,
    ) -> Self {
        let (asks, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        let recent = Arc::new(recent);
        for _ in 0..READERS {
            let reader = Reader::<R> {
                asks: waiting.clone(),
                finder: reads.finder(),
                reads: reads.clone(),
                answers: answers.clone(),
                recent: recent.clone(),
            };
            let hard = shutdown.hard.clone();
            shutdown
                .tasks
                .spawn(async move { hard.run_until_cancelled(Box::pin(reader.run())).await });
        }
        Self { asks, recent }
    }

    /// The record with this id, if there is one.
    pub(crate) async fn find(&self, id: R::Id) -> Result<Outcome, Error> {
        let key = id.key();
        if let Some(outcome) = self.recent.get(&key, Instant::now()) {
            return Ok(outcome);
        }
        let (reply, answer) = oneshot::channel();
        // Either fails only when the readers have ended, or the lookup has crashed.
        self.asks
            .send(Ask { id, key, reply })
            .await
            .map_err(|_| Error::Away)?;
        answer.await.map_err(|_| Error::Failed)?
    }
}

struct Reader<R: Record> {
    asks: Arc<Mutex<mpsc::Receiver<Ask<R>>>>,
    finder: Finder<R>,
    reads: Reads,
    answers: Answers,
    recent: Arc<Recent>,
}

impl<R: Record> Reader<R> {
    async fn run(mut self) {
        loop {
            let asks = self.next().await;
            if asks.is_empty() {
                return;
            }
            // A crash ends this batch and not the reader: a connection that is in use is not kept, and nothing else changes.
            let answering = AssertUnwindSafe(self.answer(asks));
            if answering.catch_unwind().await.is_err() {
                tracing::error!(dataset = R::NAME, "lookup crashed");
            }
        }
    }

    /// What is to be answered next. A connection that was kept is given back when nothing comes for a while.
    async fn next(&mut self) -> Vec<Ask<R>> {
        if self.finder.is_keeping() {
            if let Ok(asks) = timeout(IDLE, self.asks()).await {
                return asks;
            }
            self.finder.release();
        }
        self.asks().await
    }

    /// What waits; nothing when nobody can ask any more. Nothing is lost when it is dropped.
    async fn asks(&self) -> Vec<Ask<R>> {
        let mut asks = Vec::new();
        let mut waiting = self.asks.lock().await;
        waiting.recv_many(&mut asks, MAX_IDS).await;
        asks
    }

    async fn answer(&mut self, asks: Vec<Ask<R>>) {
        let asked = Instant::now();
        let asks = self.open(asks, asked);
        let mut keys = HashSet::with_capacity(asks.len());
        let different = asks.iter().filter(|ask| keys.insert(&ask.key));
        let ids: Vec<R::Id> = different.map(|ask| ask.id.clone()).collect();
        if ids.is_empty() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most MAX_IDS")]
        histogram!(API_BATCH_IDS, "dataset" => R::NAME).record(ids.len() as f64);
        // One row after another: what is large is refused before there is too much of it.
        let mut found = HashMap::new();
        let render = |record: Found<R>| {
            let rendered = Rendered::of(&record, &self.answers).map(Arc::new);
            found.insert(record.record.id().key(), rendered);
        };
        let failure = self.reads.ask(self.finder.find(&ids, render)).await.err();
        let outcome = |key: &Key| match failure {
            Some(error) => Err(error),
            None => found.get(key).cloned().transpose(),
        };
        for key in keys {
            if let Ok(outcome) = outcome(key)
                && outcome.as_ref().is_none_or(|record| record.is_small())
            {
                let bytes = outcome.as_ref().map_or(0, |record| record.bytes());
                self.recent.put(key.clone(), outcome, bytes, asked);
            }
        }
        for ask in asks {
            // Who does not wait any more does not want it.
            let _ = ask.reply.send(outcome(&ask.key));
        }
    }

    /// Those who still wait and whose record nobody has read since they began to.
    fn open(&self, asks: Vec<Ask<R>>, now: Instant) -> Vec<Ask<R>> {
        let mut open = Vec::with_capacity(asks.len());
        for ask in asks {
            if ask.reply.is_closed() {
                continue;
            }
            match self.recent.get(&ask.key, now) {
                Some(outcome) => drop(ask.reply.send(Ok(outcome))),
                None => open.push(ask),
            }
        }
        open
    }
}
