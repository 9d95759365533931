//! Takes chunks from the queue and carries them to their commit.

use std::{collections::VecDeque, future, iter, slice, sync::Arc, time::Duration};

use futures::future::join_all;
use jetline_queue::{Chunk, Delivery, Destination, Queue};
use jetline_runtime::{
    Backoff, Shutdown,
    metrics::{CHUNK_SECONDS, CHUNKS_IN_FLIGHT, EPOCHS, RETRIES},
    telemetry::Span,
};
use jetline_store::{ChunkEntry, ledger::Suspicion};
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    Error, WriterSettings,
    commit::{self, Committer, Group, Step},
    group::Outcome,
    parse,
    parts::first_part,
    turns::{Turn, Turns},
};

/// A chunk that was delivered more often than this may be what crashes its writers: it is tried alone.
const SUSPICIOUS: u64 = 3;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// One of a writer's workers.
pub(crate) struct Worker {
    queue: Arc<dyn Queue>,
    destination: Destination,
    committer: Arc<Committer>,
    turns: Turns,
    settings: WriterSettings,
    backoff: Backoff,
}

/// A delivery and the span of its processing, which is over with the acknowledgement.
struct Taken {
    delivery: Delivery,
    span: Span,
}

impl Taken {
    fn chunk(&self) -> &Chunk {
        &self.delivery.chunk
    }

    /// The chunk, for steps that stand below its processing.
    fn chunk_below(&self) -> Chunk {
        Chunk {
            trace: self.span.context(),
            ..self.chunk().clone()
        }
    }
}

impl Worker {
    pub(crate) fn new(
        settings: &WriterSettings,
        queue: Arc<dyn Queue>,
        committer: Arc<Committer>,
        turns: Turns,
        seed: u64,
    ) -> Self {
        count_from_zero();
        Self {
            destination: queue.destination(),
            queue,
            committer,
            turns,
            settings: settings.clone(),
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY, seed),
        }
    }

    /// Joins the epoch in force, or begins one.
    pub(crate) async fn begin(mut self) -> Result<(), Error> {
        let committer = self.committer.clone();
        loop {
            match committer.begin().await {
                Ok(()) => return Ok(()),
                Err(commit::Error::Ledger(error @ jetline_store::Error::ForeignColumn { .. })) => {
                    return Err(Error::Table(error));
                }
                Err(error) => self.wait_or_end(error, &[]).await?,
            }
        }
    }

    /// Works until the shutdown. Soft: what is in flight is finished. Hard: it is dropped, and delivered again.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) -> Result<(), Error> {
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.soft.cancelled() => return Ok(()),
                received = self.receive() => received,
            };
            match received {
                Ok((deliveries, turn)) => {
                    let work = self.take(deliveries, turn);
                    match shutdown.hard.run_until_cancelled(work).await {
                        Some(result) => result?,
                        None => return Ok(()),
                    }
                }
                Err(jetline_queue::Error::Closed) => return Ok(()),
                Err(error) => self.wait("queue", &error, &[]).await,
            }
        }
    }

    async fn receive(&self) -> Result<(Vec<Delivery>, Turn), jetline_queue::Error> {
        let _receiving = self.turns.receiving().await;
        let max = self.settings.writer_chunks.get();
        let deliveries = self.queue.receive(max).await?;
        Ok((deliveries, self.turns.give()))
    }

    async fn take(&mut self, deliveries: Vec<Delivery>, turn: Turn) -> Result<(), Error> {
        let (committer, every) = (self.committer.clone(), self.settings.progress_every);
        let known = deliveries
            .into_iter()
            .filter(|delivery| committer.knows(&delivery.chunk));
        let taken = known.map(|delivery| Taken {
            span: self.destination.processing(&delivery),
            delivery,
        });
        let (suspicious, ordinary): (Vec<_>, Vec<_>) =
            taken.partition(|taken| taken.delivery.attempt > SUSPICIOUS);
        let mut suspicious = VecDeque::from(suspicious);
        if !ordinary.is_empty() {
            let permit = async {
                turn.come().await;
                committer.alone.read().await
            };
            let work = self.process(&ordinary, permit);
            in_progress(ordinary.iter().chain(&suspicious), every, work).await?;
            acknowledge(ordinary).await;
        }
        while let Some(taken) = suspicious.pop_front() {
            let work = async {
                turn.come().await;
                let _alone = committer.alone.write().await;
                self.try_alone(&taken).await
            };
            let waiting = iter::once(&taken).chain(&suspicious);
            in_progress(waiting, every, work).await?;
            acknowledge(vec![taken]).await;
        }
        turn.end();
        Ok(())
    }

    async fn try_alone(&mut self, taken: &Taken) -> Result<(), Error> {
        let (committer, limit) = (self.committer.clone(), self.settings.max_deliver);
        let alone = slice::from_ref(taken);
        loop {
            match committer.suspect(taken.chunk(), limit).await {
                Ok(Suspicion::Try) => return self.process(alone, future::ready(())).await,
                Ok(Suspicion::Dead) => break,
                Err(error) => self.wait_or_end(error, alone).await?,
            }
        }
        Outcome::Dead.describe(&taken.span);
        taken.chunk().log_span().in_scope(|| {
            tracing::error!("the chunk crashed its writer too often and is given up");
        });
        Ok(())
    }

    /// Parses the chunks of deliveries, and commits them once `permit` is there, however long it takes; it is held
    /// meanwhile.
    async fn process<G>(
        &mut self,
        taken: &[Taken],
        permit: impl Future<Output = G>,
    ) -> Result<(), Error> {
        let begin = Instant::now();
        metrics::gauge!(CHUNKS_IN_FLIGHT).increment(as_f64(taken.len()));
        // What is logged on the way is about all of them; the first one stands for them.
        let first = taken.first().map(|first| first.chunk().log_span());
        let committed = self.commit(taken, permit);
        let committed = committed
            .instrument(first.unwrap_or_else(tracing::Span::none))
            .await;
        metrics::gauge!(CHUNKS_IN_FLIGHT).decrement(as_f64(taken.len()));
        metrics::histogram!(CHUNK_SECONDS).record(begin.elapsed());
        committed
    }

    async fn commit<G>(
        &mut self,
        taken: &[Taken],
        permit: impl Future<Output = G>,
    ) -> Result<(), Error> {
        let committer = self.committer.clone();
        let parse = |part: &[Taken]| committer.parse(part.iter().map(Taken::chunk_below).collect());
        // The usual batch is one part, which is parsed while the permit is waited for.
        let (part, mut rest) = next_part(taken);
        let mut groups = parse(part);
        let _permit = permit.await;
        loop {
            while let Some(mut group) = groups.pop() {
                let step = self.commit_group(&committer, &mut group, taken).await?;
                note(&group.take_ended(), taken);
                if step == Step::Split {
                    groups.extend(group.split());
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
            let part;
            (part, rest) = next_part(rest);
            groups = parse(part);
        }
    }

    async fn commit_group(
        &mut self,
        committer: &Committer,
        group: &mut Group<'_>,
        taken: &[Taken],
    ) -> Result<Step, Error> {
        loop {
            match Box::pin(committer.advance(group)).await {
                Ok(Step::Again) => {}
                Ok(step) => {
                    self.backoff.reset();
                    return Ok(step);
                }
                Err(error) => self.wait_or_end(error, taken).await?,
            }
        }
    }

    /// Waits where waiting helps. Whatever else the database refuses is held as well: a chunk is never given up for it.
    async fn wait_or_end(&mut self, error: commit::Error, taken: &[Taken]) -> Result<(), Error> {
        match error {
            commit::Error::Ledger(
                error @ (jetline_store::Error::OtherMode { .. } | jetline_store::Error::TakenOver),
            ) => {
                return Err(Error::Ousted(error));
            }
            commit::Error::Ledger(error) => self.wait("database", &error, taken).await,
            commit::Error::Dedup(error) => self.wait("dedup", &error, taken).await,
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        part: &'static str,
        error: &(dyn std::error::Error + Send + Sync + 'static),
        taken: &[Taken],
    ) {
        let delay = self.backoff.next_delay();
        metrics::counter!(RETRIES, "part" => part).increment(1);
        for taken in taken {
            let error = error.to_string();
            taken
                .span
                .event("retry", [("part", part.into()), ("error", error.into())]);
        }
        tracing::warn!(
            error = error as &dyn std::error::Error,
            chunks = taken.len(),
            ?delay,
            "the writer waits and tries again"
        );
        tokio::time::sleep(delay).await;
    }
}

/// Deliveries that are parsed and committed together, and those behind them.
fn next_part(taken: &[Taken]) -> (&[Taken], &[Taken]) {
    taken.split_at(first_part(taken.iter().map(Taken::chunk)))
}

/// Tells in their traces what became of chunks; one that was delivered twice has two.
fn note(ended: &[(ChunkEntry, Outcome)], taken: &[Taken]) {
    for taken in taken {
        let entry = parse::entry(taken.chunk());
        if let Some((_, outcome)) = ended.iter().find(|(ended, _)| *ended == entry) {
            outcome.describe(&taken.span);
        }
    }
}

/// Tells the queue, while work takes its time, that it goes on.
async fn in_progress<'a, F: Future>(
    taken: impl Iterator<Item = &'a Taken> + Clone,
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
        let told = join_all(taken.clone().map(|taken| taken.delivery.progress())).await;
        for error in told.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "the queue was not told of progress");
        }
    }
}

/// A lost acknowledgement does no harm: the chunk comes again and is found committed.
async fn acknowledge(taken: Vec<Taken>) {
    let acks = taken
        .into_iter()
        .map(|Taken { delivery, span }| async move {
            if let Err(error) = delivery.ack().await {
                tracing::debug!(%error, "a chunk was not acknowledged, it will be delivered again");
                span.event(
                    "lost acknowledgement",
                    [("error", error.to_string().into())],
                );
            }
            span.end();
        });
    join_all(acks).await;
}

/// A counter that is not there before its first event hides that event from whoever looks for a rise.
fn count_from_zero() {
    for part in ["queue", "dedup", "database"] {
        metrics::counter!(RETRIES, "part" => part).increment(0);
    }
    metrics::counter!(EPOCHS).increment(0);
}

#[expect(clippy::cast_precision_loss, reason = "a handful of chunks")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
