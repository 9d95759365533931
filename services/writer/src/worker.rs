//! Receives chunks from the queue and takes them through parse, claim and commit to their acknowledgement.

use std::{collections::VecDeque, future, iter, slice, sync::Arc, time::Duration};

use futures::future::join_all;
use jetline_core::ChunkRange;
use jetline_queue::{Chunk, Queue, QueueDestination, ReceivedChunk};
use jetline_runtime::{
    Backoff, Shutdown,
    metrics::{CHUNK_SECONDS, CHUNKS_IN_FLIGHT, RETRIES, as_f64},
    telemetry::Span,
};
use jetline_store::chunks::SuspectAction;
use tokio::time::Instant;
use tracing::Instrument;

use crate::{
    Error, WriterSettings,
    commit::{Batch, ChunkResults, Committer},
    commit_order::{CommitOrder, Ticket},
    failure::{Failed, FailureAction},
    outcome::ChunkResult,
    parse_memory::count_that_fits,
};

/// A chunk that was delivered more often than this is suspected of crashing its writers: it is tried alone.
const MAX_ORDINARY_DELIVERIES: u64 = 3;

/// The interval of extensions of the acknowledgement deadline where the queue has no acknowledgement wait.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// One of a writer's workers.
pub(crate) struct Worker {
    queue: Arc<dyn Queue>,
    destination: QueueDestination,
    committer: Arc<Committer>,
    commit_order: CommitOrder,
    settings: WriterSettings,
    backoff: Backoff,
}

/// A delivery and the span of its processing, which ends with the acknowledgement.
struct InFlight {
    delivery: ReceivedChunk,
    span: Span,
    since: Instant,
}

impl InFlight {
    fn chunk(&self) -> &Chunk {
        &self.delivery.chunk
    }

    /// The chunk, with the span of its processing as the parent of further spans.
    fn traced_chunk(&self) -> Chunk {
        Chunk { trace: self.span.context(), ..self.chunk().clone() }
    }
}

impl Worker {
    pub(crate) fn new(
        settings: &WriterSettings,
        queue: Arc<dyn Queue>,
        committer: Arc<Committer>,
        commit_order: CommitOrder,
        seed: u64,
    ) -> Self {
        Self {
            destination: queue.destination(),
            queue,
            committer,
            commit_order,
            settings: settings.clone(),
            backoff: Backoff::for_calls(seed),
        }
    }

    /// Joins the epoch in force, or begins one; retries until it succeeds.
    pub(crate) async fn begin(mut self) -> Result<(), Error> {
        let committer = self.committer.clone();
        loop {
            match committer.begin().await {
                Ok(()) => return Ok(()),
                Err(failure) => self.wait_or_fail(failure, &[]).await?,
            }
        }
    }

    /// Works until the shutdown. Soft: chunks in flight are finished. Hard: they are dropped, and will be redelivered.
    pub(crate) async fn run(mut self, shutdown: &Shutdown) -> Result<(), Error> {
        loop {
            let received = tokio::select! {
                biased;
                () = shutdown.soft.cancelled() => return Ok(()),
                received = self.receive() => received,
            };
            match received {
                Ok((deliveries, ticket)) => {
                    let work = self.commit_deliveries(deliveries, ticket);
                    match shutdown.hard.run_until_cancelled(work).await {
                        Some(result) => result?,
                        None => return Ok(()),
                    }
                }
                Err(jetline_queue::Error::Closed) => return Ok(()),
                Err(error) => self.back_off("queue", &error, &[]).await,
            }
        }
    }

    async fn receive(&self) -> Result<(Vec<ReceivedChunk>, Ticket), jetline_queue::Error> {
        let _receiving = self.commit_order.lock_receive().await;
        let max = self.settings.writer_chunks.get();
        let deliveries = self.queue.receive(max).await?;
        Ok((deliveries, self.commit_order.issue_ticket()))
    }

    async fn commit_deliveries(
        &mut self,
        deliveries: Vec<ReceivedChunk>,
        ticket: Ticket,
    ) -> Result<(), Error> {
        let committer = self.committer.clone();
        let every = self.settings.progress_every.unwrap_or(PROGRESS_INTERVAL);
        let since = Instant::now();
        let in_flight = deliveries.into_iter().map(|delivery| {
            let span = self.destination.processing(&delivery);
            InFlight { delivery, span, since }
        });
        let in_flight: Vec<InFlight> = in_flight.collect();
        let work = self.read_declarations(&in_flight);
        with_progress(in_flight.iter(), every, work).await?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            in_flight.into_iter().partition(|one| committer.knows_declaration(one.chunk()));
        with_progress(known.iter(), every, discard_unknown(unknown)).await;
        let (suspects, ordinary): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|one| one.delivery.attempt > MAX_ORDINARY_DELIVERIES);
        let mut suspects = VecDeque::from(suspects);
        if !ordinary.is_empty() {
            let permit = async {
                ticket.wait().await;
                committer.suspect_lock.read().await
            };
            let work = self.process(&ordinary, permit);
            with_progress(ordinary.iter().chain(&suspects), every, work).await?;
            acknowledge(ordinary).await;
        }
        while let Some(suspect) = suspects.pop_front() {
            let work = async {
                ticket.wait().await;
                let _exclusive = committer.suspect_lock.write().await;
                self.try_alone(&suspect).await
            };
            let held = iter::once(&suspect).chain(&suspects);
            with_progress(held, every, work).await?;
            acknowledge(vec![suspect]).await;
        }
        ticket.complete().await;
        Ok(())
    }

    /// Reads the declarations from the ledger if those of some chunks are not known; retries until it succeeds.
    async fn read_declarations(&mut self, in_flight: &[InFlight]) -> Result<(), Error> {
        let committer = self.committer.clone();
        let chunks = || in_flight.iter().map(InFlight::chunk);
        while let Err(failure) = committer.read_unknown_declarations(chunks()).await {
            self.wait_or_fail(failure, in_flight).await?;
        }
        Ok(())
    }

    async fn try_alone(&mut self, suspect: &InFlight) -> Result<(), Error> {
        let (committer, limit) = (self.committer.clone(), self.settings.max_deliver);
        let alone = slice::from_ref(suspect);
        loop {
            match committer.suspect(suspect.chunk(), limit).await {
                Ok(SuspectAction::Retry) => return self.process(alone, future::ready(())).await,
                Ok(SuspectAction::DeadLetter) => break,
                Err(failure) => self.wait_or_fail(failure, alone).await?,
            }
        }
        ChunkResult::Dead.record(&suspect.span);
        suspect.chunk().log_span().in_scope(|| {
            tracing::error!("chunk dead-lettered: too many attempts ended without a result");
        });
        Ok(())
    }

    /// Parses the chunks of deliveries and, once `permit` is granted, commits them; holds the permit until they are
    /// committed, and retries until then.
    async fn process<G>(
        &mut self,
        in_flight: &[InFlight],
        permit: impl Future<Output = G>,
    ) -> Result<(), Error> {
        metrics::gauge!(CHUNKS_IN_FLIGHT).increment(as_f64(in_flight.len() as u64));
        // What is logged meanwhile concerns all of them; it is logged in the span of the first.
        let first = in_flight.first().map(|first| first.chunk().log_span());
        let committed = self.commit_until_done(in_flight, permit);
        let committed = committed.instrument(first.unwrap_or_else(tracing::Span::none)).await;
        metrics::gauge!(CHUNKS_IN_FLIGHT).decrement(as_f64(in_flight.len() as u64));
        committed
    }

    async fn commit_until_done<G>(
        &mut self,
        in_flight: &[InFlight],
        permit: impl Future<Output = G>,
    ) -> Result<(), Error> {
        let committer = self.committer.clone();
        let parse =
            |part: &[InFlight]| committer.parse(part.iter().map(InFlight::traced_chunk).collect());
        // Usually there is one part, which is parsed while waiting for the permit.
        let (part, mut rest) = split_off_that_fit(in_flight);
        let mut batches = VecDeque::from(parse(part));
        let _permit = permit.await;
        loop {
            while let Some(batch) = batches.pop_front() {
                match Box::pin(committer.commit(batch)).await {
                    Ok(ChunkResults(ends)) => {
                        self.backoff.reset();
                        record_ends(&ends, in_flight);
                    }
                    Err(Failed { batch, failure: FailureAction::Split }) => {
                        self.backoff.reset();
                        let split: Vec<_> = batch.split().map(Batch::parse).collect();
                        split.into_iter().rev().for_each(|one| batches.push_front(one));
                    }
                    Err(Failed { batch, failure }) => {
                        self.wait_or_fail(failure, in_flight).await?;
                        batches.push_front(batch.parse());
                    }
                }
            }
            if rest.is_empty() {
                return Ok(());
            }
            let part;
            (part, rest) = split_off_that_fit(rest);
            batches = parse(part).into();
        }
    }

    /// Waits before a retry where the failure requires it, or ends the writer.
    async fn wait_or_fail(
        &mut self,
        failure: FailureAction,
        in_flight: &[InFlight],
    ) -> Result<(), Error> {
        match failure {
            FailureAction::Fatal(error) => return Err(error),
            FailureAction::Retry(part, error) => self.back_off(part, &*error, in_flight).await,
            // The committer has handled it.
            _ => {}
        }
        Ok(())
    }

    async fn back_off(
        &mut self,
        part: &'static str,
        error: &(dyn std::error::Error + Send + Sync + 'static),
        in_flight: &[InFlight],
    ) {
        let delay = self.backoff.next_delay();
        metrics::counter!(RETRIES, "part" => part).increment(1);
        for one in in_flight {
            let error = error.to_string();
            one.span.event("retry", [("part", part.into()), ("error", error.into())]);
        }
        tracing::warn!(
            part,
            error = jetline_runtime::causes(error),
            chunks = in_flight.len(),
            delay_ms = jetline_runtime::millis(delay),
            "operation failed, will retry"
        );
        tokio::time::sleep(delay).await;
    }
}

/// Splits off the deliveries that are parsed and committed together.
fn split_off_that_fit(in_flight: &[InFlight]) -> (&[InFlight], &[InFlight]) {
    in_flight.split_at(count_that_fits(in_flight.iter().map(InFlight::chunk)))
}

/// Discards chunks of declarations that the ledger has not: their dataset was dropped, they are of another ledger, or of the time
/// before it was restored.
async fn discard_unknown(in_flight: Vec<InFlight>) {
    for one in &in_flight {
        let Chunk { dataset, declaration, .. } = one.chunk();
        one.chunk().log_span().in_scope(|| {
            tracing::warn!(dataset, declaration, "chunk discarded: its declaration is unknown");
        });
        ChunkResult::Discarded.record(&one.span);
    }
    acknowledge(in_flight).await;
}

/// Records in their traces what became of chunks, and how long it took; one that was delivered twice has two traces.
fn record_ends(ends: &[(ChunkRange, ChunkResult)], in_flight: &[InFlight]) {
    for one in in_flight {
        let range = one.chunk().range();
        if let Some((_, end)) = ends.iter().find(|(ended, _)| *ended == range) {
            end.record(&one.span);
            metrics::histogram!(CHUNK_SECONDS).record(one.since.elapsed());
        }
    }
}

/// Runs `work`, and extends the acknowledgement deadline of deliveries meanwhile.
async fn with_progress<'a, F: Future>(
    in_flight: impl Iterator<Item = &'a InFlight> + Clone,
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
        let results = join_all(in_flight.clone().map(|one| one.delivery.progress())).await;
        for error in results.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "extend acknowledgement deadline failed");
        }
    }
}

/// A lost acknowledgement does no harm: the chunk is redelivered, found committed, and acknowledged.
async fn acknowledge(in_flight: Vec<InFlight>) {
    let acks = in_flight.into_iter().map(|InFlight { delivery, span, .. }| async move {
        if let Err(error) = delivery.ack().await {
            tracing::debug!(%error, "acknowledge chunk failed, it will be redelivered");
            span.event("lost acknowledgement", [("error", error.to_string().into())]);
        }
        span.end();
    });
    join_all(acks).await;
}
