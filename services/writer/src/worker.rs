//! Takes chunks from the queue and carries them to their commit.

use std::{collections::VecDeque, iter, slice, sync::Arc, time::Duration};

use futures::future::join_all;
use jetline_queue::{Chunk, Delivery, Queue};
use jetline_runtime::{
    Backoff, Shutdown,
    metrics::{CHUNK_SECONDS, CHUNKS_IN_FLIGHT, RETRIES},
};
use jetline_store::ledger::Suspicion;
use tokio::time::Instant;

use crate::{
    Error, WriterSettings,
    commit::{self, Committer, Group, Step},
};

/// A chunk that was delivered more often than this may be what crashes its writers: it is tried alone.
const SUSPICIOUS: u64 = 3;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// One of a writer's workers.
pub(crate) struct Worker {
    queue: Arc<dyn Queue>,
    committer: Arc<Committer>,
    settings: WriterSettings,
    backoff: Backoff,
}

impl Worker {
    pub(crate) fn new(
        settings: &WriterSettings,
        queue: Arc<dyn Queue>,
        committer: Arc<Committer>,
        seed: u64,
    ) -> Self {
        Self {
            queue,
            committer,
            settings: settings.clone(),
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY, seed),
        }
    }

    /// Joins the epoch in force, or begins one.
    pub(crate) async fn begin(mut self) -> Result<(), Error> {
        let committer = self.committer.clone();
        while let Err(error) = committer.begin().await {
            self.wait_or_end(error).await?;
        }
        Ok(())
    }

    /// Works until the shutdown. Soft: what is in flight is finished. Hard: it is dropped, and delivered again.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) -> Result<(), Error> {
        loop {
            let max = self.settings.writer_chunks.get();
            let received = tokio::select! {
                biased;
                () = shutdown.soft.cancelled() => return Ok(()),
                received = self.queue.receive(max) => received,
            };
            match received {
                Ok(deliveries) => {
                    let work = self.take(deliveries);
                    match shutdown.hard.run_until_cancelled(work).await {
                        Some(result) => result?,
                        None => return Ok(()),
                    }
                }
                Err(jetline_queue::Error::Closed) => return Ok(()),
                Err(error) => self.wait("queue", &error).await,
            }
        }
    }

    async fn take(&mut self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        let (committer, every) = (self.committer.clone(), self.settings.progress_every);
        let known = deliveries
            .into_iter()
            .filter(|delivery| committer.knows(&delivery.chunk));
        let (suspicious, ordinary): (Vec<_>, Vec<_>) =
            known.partition(|delivery| delivery.attempt > SUSPICIOUS);
        let mut suspicious = VecDeque::from(suspicious);
        if !ordinary.is_empty() {
            let work = async {
                let _shared = committer.alone.read().await;
                self.process(&ordinary).await
            };
            in_progress(ordinary.iter().chain(&suspicious), every, work).await?;
            acknowledge(ordinary).await;
        }
        while let Some(delivery) = suspicious.pop_front() {
            let work = async {
                let _alone = committer.alone.write().await;
                self.try_alone(&delivery).await
            };
            let waiting = iter::once(&delivery).chain(&suspicious);
            in_progress(waiting, every, work).await?;
            acknowledge(vec![delivery]).await;
        }
        Ok(())
    }

    async fn try_alone(&mut self, delivery: &Delivery) -> Result<(), Error> {
        let (committer, limit) = (self.committer.clone(), self.settings.max_deliver);
        loop {
            match committer.suspect(&delivery.chunk, limit).await {
                Ok(Suspicion::Try) => return self.process(slice::from_ref(delivery)).await,
                Ok(Suspicion::Dead) => break,
                Err(error) => self.wait_or_end(error).await?,
            }
        }
        tracing::error!(
            object = %delivery.chunk.object,
            chunk.start = delivery.chunk.start,
            "a chunk crashed its writer too often and is given up"
        );
        Ok(())
    }

    /// Commits the chunks of deliveries, however long it takes.
    async fn process(&mut self, deliveries: &[Delivery]) -> Result<(), Error> {
        let begin = Instant::now();
        metrics::gauge!(CHUNKS_IN_FLIGHT).increment(as_f64(deliveries.len()));
        let chunks = deliveries.iter().map(|delivery| delivery.chunk.clone());
        let committed = self.commit(chunks.collect()).await;
        metrics::gauge!(CHUNKS_IN_FLIGHT).decrement(as_f64(deliveries.len()));
        metrics::histogram!(CHUNK_SECONDS).record(begin.elapsed());
        committed
    }

    async fn commit(&mut self, chunks: Vec<Chunk>) -> Result<(), Error> {
        let committer = self.committer.clone();
        let mut groups = committer.parse(chunks);
        while let Some(mut group) = groups.pop() {
            if self.commit_group(&committer, &mut group).await? == Step::Split {
                groups.extend(group.split());
            }
        }
        Ok(())
    }

    async fn commit_group(
        &mut self,
        committer: &Committer,
        group: &mut Group<'_>,
    ) -> Result<Step, Error> {
        loop {
            match Box::pin(committer.advance(group)).await {
                Ok(Step::Again) => {}
                Ok(step) => {
                    self.backoff.reset();
                    return Ok(step);
                }
                Err(error) => self.wait_or_end(error).await?,
            }
        }
    }

    /// Waits where waiting helps. Whatever else the database refuses is held as well: a chunk is never given up for it.
    async fn wait_or_end(&mut self, error: commit::Error) -> Result<(), Error> {
        match error {
            commit::Error::Ledger(
                error @ (jetline_store::Error::OtherMode { .. } | jetline_store::Error::TakenOver),
            ) => {
                return Err(Error::Ousted(error));
            }
            commit::Error::Ledger(error) => self.wait("database", &error).await,
            commit::Error::Dedup(error) => self.wait("dedup", &error).await,
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        part: &'static str,
        error: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        let delay = self.backoff.next_delay();
        metrics::counter!(RETRIES, "part" => part).increment(1);
        tracing::warn!(
            error = error as &dyn std::error::Error,
            ?delay,
            "the writer waits and tries again"
        );
        tokio::time::sleep(delay).await;
    }
}

/// Tells the queue, while work takes its time, that it goes on.
async fn in_progress<'a, F: Future>(
    deliveries: impl Iterator<Item = &'a Delivery> + Clone,
    every: Duration,
    work: F,
) -> F::Output {
    tokio::pin!(work);
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    loop {
        tokio::select! {
            biased;
            output = &mut work => return output,
            _ = ticks.tick() => {}
        }
        let told = join_all(deliveries.clone().map(Delivery::progress)).await;
        for error in told.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "the queue was not told of progress");
        }
    }
}

/// A lost acknowledgement does no harm: the chunk comes again and is found committed.
async fn acknowledge(deliveries: Vec<Delivery>) {
    let acks = deliveries.into_iter().map(Delivery::ack);
    for error in join_all(acks).await.into_iter().filter_map(Result::err) {
        tracing::debug!(%error, "a chunk was not acknowledged, it will be delivered again");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of chunks")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
