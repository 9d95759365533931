//! Reads that coalesce: what waits while a statement is in flight goes into the next one.
//!
//! No timer is involved: a lone request is read at once, and the more wait, the larger the statements become.

use std::{collections::HashMap, sync::Arc};

use jetline_records::{Key, Record, RecordId};
use jetline_runtime::{Shutdown, metrics::API_BATCH_IDS};
use jetline_store::read::records::{self, Found};
use metrics::histogram;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::database::{Error, Reads};

/// Statements in flight per dataset.
const READERS: usize = 2;
/// Ids in a statement, at most.
const MAX_IDS: usize = 128;
/// Requests that wait to be read, at most; more of them wait in front.
const WAITING: usize = 1024;

/// Finds records of one dataset, many at a time.
pub(crate) struct Lookup<R: Record> {
    asks: mpsc::Sender<Ask<R>>,
}

struct Ask<R: Record> {
    id: R::Id,
    reply: oneshot::Sender<Answer<R>>,
}

type Answer<R> = Result<Option<Arc<Found<R>>>, Error>;

impl<R: Record> Lookup<R> {
    /// Starts the readers; they end with the lookup, or with the hard shutdown.
    pub(crate) fn start(reads: &Reads, shutdown: &Shutdown) -> Self {
        let (asks, waiting) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..READERS {
            let reader = read(waiting.clone(), reads.clone());
            let hard = shutdown.hard.clone();
            shutdown
                .tasks
                .spawn(async move { hard.run_until_cancelled(reader).await });
        }
        Self { asks }
    }

    /// The record with this id, if there is one.
    pub(crate) async fn find(&self, id: R::Id) -> Answer<R> {
        let (reply, answer) = oneshot::channel();
        // Either fails only when the readers have ended, or the statement's task has crashed.
        self.asks
            .send(Ask { id, reply })
            .await
            .map_err(|_| Error::Away)?;
        answer.await.map_err(|_| Error::Failed)?
    }
}

async fn read<R: Record>(asks: Arc<Mutex<mpsc::Receiver<Ask<R>>>>, reads: Reads) {
    loop {
        let mut waiting = Vec::new();
        if asks.lock().await.recv_many(&mut waiting, MAX_IDS).await == 0 {
            return;
        }
        // A task of its own, so that a crash ends this batch and not the reader.
        let answering = tokio::spawn(answer(reads.clone(), waiting));
        if let Err(error) = answering.await {
            tracing::error!(%error, dataset = R::NAME, "lookup crashed");
        }
    }
}

async fn answer<R: Record>(reads: Reads, mut asks: Vec<Ask<R>>) {
    asks.retain(|ask| !ask.reply.is_closed());
    if asks.is_empty() {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most MAX_IDS")]
    histogram!(API_BATCH_IDS, "dataset" => R::NAME).record(asks.len() as f64);
    let ids: Vec<R::Id> = asks.iter().map(|ask| ask.id.clone()).collect();
    let found = reads
        .ask(records::find::<R>(reads.connection(), &ids))
        .await
        .map(by_key);
    for ask in asks {
        let answer = match &found {
            Ok(found) => Ok(found.get(&ask.id.key()).cloned()),
            Err(error) => Err(*error),
        };
        // Who does not wait any more does not want it.
        let _ = ask.reply.send(answer);
    }
}

fn by_key<R: Record>(found: Vec<Found<R>>) -> HashMap<Key, Arc<Found<R>>> {
    found
        .into_iter()
        .map(|found| (found.record.id().key(), Arc::new(found)))
        .collect()
}
