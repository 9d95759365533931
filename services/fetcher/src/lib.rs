//! The fetcher: lists its sources, reads what is new, and publishes it as chunks of whole lines, in these steps:
//!
//! list → register in the ledger → lease → read ([`decode`], [`split`]) → publish → settle or read again what was lost.
//!
//! What is committed is never read again, whoever crashes; what is not committed is read again, whatever the queue loses.

mod ahead;
mod broken;
mod changing;
pub mod decode;
mod dismiss;
mod progress;
mod publish;
mod reader;
mod reading;
mod refusal;
mod replay;
mod report;
mod settings;
mod sources;
pub mod split;
mod supervise;
mod terminal;
mod watermark;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use jetline_queue::Queue;
use jetline_records::ObjectId;
use jetline_runtime::{Backoff, Shutdown};
use jetline_store::Ledger;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

pub use crate::{
    dismiss::{DismissSettings, Dismissed, dismiss},
    replay::{ReplaySettings, Replayed, replay},
    report::Report,
    settings::FetcherSettings,
    sources::{RegisterError, Registered, Sources},
};
use crate::{progress::Progress, reader::Reader, supervise::Supervisor};

/// How often the ledger is asked how far the objects are.
const LOOK: Duration = Duration::from_millis(200);

/// Where there are so many that the answer takes long: how many times as long until it is asked again, and how long at most.
const REST: u32 = 2;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The longest wait between two attempts to list the sources.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Fetches until every object is done, or, when it watches its sources, until the shutdown.
pub async fn run(
    settings: &FetcherSettings,
    sources: Sources,
    queue: Arc<dyn Queue>,
    ledger: Ledger,
    seed: u64,
    shutdown: &Shutdown,
) -> anyhow::Result<Report> {
    settings.check(queue.max_body_bytes())?;
    let stop = shutdown.soft.child_token();
    let mut run = Run {
        settings: settings.clone(),
        sources: Arc::new(sources),
        queue,
        ledger,
        randomness: StdRng::seed_from_u64(seed),
        registered: Arc::new(Notify::new()),
        since: None,
        before: BTreeSet::new(),
        has_open: false,
        listed: None,
    };
    let begin = Instant::now();
    let registered = stop.run_until_cancelled(run.register()).await.transpose()?;
    if registered.is_some() && !run.has_work() {
        run.refuse_nothing()?;
    } else if registered.is_some() {
        let mut readers = run.spawn_readers(&stop);
        let looked = run.look_on(&stop, &mut readers).await;
        stop.cancel();
        while let Some(reader) = readers.join_next().await {
            reader
                .context("a reader crashed")?
                .context("the queue does not take the chunks")?;
        }
        looked?;
    }
    run.report(begin.elapsed())
        .await
        .context("cannot read how the objects ended")
}

struct Run {
    settings: FetcherSettings,
    sources: Arc<Sources>,
    queue: Arc<dyn Queue>,
    ledger: Ledger,
    randomness: StdRng,
    registered: Arc<Notify>,
    /// What the run is about is what is registered since it began, from this object on, and these before it, that were
    /// open then or are replayed. So nothing grows while it watches.
    since: Option<ObjectId>,
    before: BTreeSet<ObjectId>,
    /// Whether anything was open when the sources were listed.
    has_open: bool,
    /// What the sources held when they were last listed, if they were.
    listed: Option<Registered>,
}

impl Run {
    fn has_work(&self) -> bool {
        self.settings.watch.is_some() || self.has_open
    }

    /// Where there is nothing at all under the names that were given, they are wrong.
    fn refuse_nothing(&self) -> anyhow::Result<()> {
        if let Some(Registered {
            listed: 0, missing, ..
        }) = &self.listed
        {
            anyhow::ensure!(
                missing.is_empty(),
                "there is nothing to read: no object matches {} (SOURCE)",
                missing.join(", ")
            );
        }
        Ok(())
    }

    /// Lists the sources and registers what is new, trying again as long as that may help. A source that is away is waited
    /// for as any server is at start; one that does not exist is too, where the sources are watched.
    async fn register(&mut self) -> anyhow::Result<()> {
        let first = Duration::from_millis(200);
        let mut backoff = Backoff::new(first, LONGEST_DELAY, self.randomness.random());
        let begin = Instant::now();
        let watches = self.settings.watch.is_some();
        loop {
            match self.register_once().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_passing() || (watches && error.is_absent()) => {
                    let delay = backoff.next_delay();
                    let is_source = matches!(error, RegisterError::List { .. });
                    if is_source && begin.elapsed() + delay > self.sources.patience() {
                        return Err(error).context("cannot start without the sources (SOURCE)");
                    }
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        ?delay,
                        "the sources are listed again"
                    );
                    tokio::time::sleep(delay).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn register_once(&mut self) -> Result<(), RegisterError> {
        // Before anything is registered, also by an attempt whose answer is lost.
        let since = if let Some(since) = self.since {
            since
        } else {
            // What refused them may be mended since the run before.
            self.ledger.retry_refused(&self.sources.roots()).await?;
            self.ledger.next().await?
        };
        self.since = Some(since);
        let registered = self
            .sources
            .register(&self.settings, &self.ledger, &mut self.randomness)
            .await?;
        let Registered { listed, new, .. } = registered;
        self.listed = Some(registered);
        let open = self.ledger.open(&self.sources.roots()).await?;
        self.has_open = !open.is_empty();
        let before = open.into_iter().filter(|object| *object < since);
        self.before.extend(before);
        if new > 0 {
            tracing::info!(listed, new, "object versions were registered");
            self.registered.notify_waiters();
        }
        Ok(())
    }

    fn spawn_readers(&mut self, stop: &CancellationToken) -> JoinSet<Result<(), broken::Error>> {
        let mut readers = JoinSet::new();
        for _ in 0..self.settings.fetch_objects.get() {
            let reader = Reader {
                ledger: self.ledger.clone(),
                queue: self.queue.clone(),
                sources: self.sources.clone(),
                settings: self.settings.clone(),
                owner: format!("{:016x}", self.randomness.random::<u64>()),
                seed: self.randomness.random(),
                registered: self.registered.clone(),
            };
            readers.spawn(reader.run(stop.clone()));
        }
        readers
    }

    /// Looks on until the shutdown, or until every object has ended; or until a reader has.
    async fn look_on(
        &mut self,
        stop: &CancellationToken,
        readers: &mut JoinSet<Result<(), broken::Error>>,
    ) -> anyhow::Result<()> {
        let randomness = StdRng::from_rng(&mut self.randomness);
        let mut supervisor = Supervisor::new(
            self.ledger.clone(),
            self.queue.clone(),
            self.sources.roots(),
            &self.settings,
            randomness,
        );
        let mut progress = Progress::on_terminal();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_list = self.settings.watch.map(|watch| Instant::now() + watch);
        let mut backoff = Backoff::new(LOOK, LONGEST_DELAY, self.randomness.random());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(reader) = readers.join_next() => {
                    reader.context("a reader crashed")?.context("the queue does not take the chunks")?;
                    break;
                }
                _ = looks.tick() => {}
            }
            let began = Instant::now();
            let looked = supervisor.look().await;
            looks.reset_after((began.elapsed() * REST).clamp(LOOK, LONGEST_REST));
            if let Err(error) = looked {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the ledger cannot be read, looking on"
                );
                continue;
            }
            let due = self.sources.changing.due();
            let next = [next_list, due].into_iter().flatten().min();
            if next.is_some_and(|at| at <= Instant::now()) {
                let began = Instant::now();
                let delay = self.register_again(&mut backoff).await;
                self.sources.changing.listed(began);
                next_list = delay.map(|delay| Instant::now() + delay);
            }
            if let Some(progress) = &mut progress {
                progress.draw(&self.ledger).await;
            }
            let due = self.sources.changing.due();
            if next_list.or(due).is_none() && self.has_ended(&supervisor).await {
                break;
            }
        }
        if let Some(progress) = &mut progress {
            progress.clear();
        }
        Ok(())
    }

    /// In the middle of a run no error of a source is fatal. Returns when the sources are to be listed next, if at all.
    async fn register_again(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        let Err(error) = self.register_once().await else {
            backoff.reset();
            return self.settings.watch;
        };
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the sources could not be listed"
        );
        if error.is_passing() {
            return Some(backoff.next_delay());
        }
        let watch = self.settings.watch?;
        Some(backoff.next_delay().max(watch))
    }

    async fn report(self, elapsed: Duration) -> Result<Report, jetline_store::Error> {
        let mut objects: Vec<ObjectId> = self.before.into_iter().collect();
        if let Some(since) = self.since {
            let roots = self.sources.roots();
            objects.extend(self.ledger.registered_since(since, &roots).await?);
        }
        let listed = self.listed.as_ref();
        let mut report = Report::read(&self.ledger, listed, &objects, elapsed).await?;
        if let Some(listed) = listed {
            report.left_out = listed.left_out.clone();
            if self.settings.watch.is_none() {
                report.missing.clone_from(&listed.missing);
            }
        }
        Ok(report)
    }

    /// Whether every object has ended, or cannot end in this run: it was refused, or waits for one that was.
    async fn has_ended(&self, supervisor: &Supervisor) -> bool {
        let roots = self.sources.roots();
        if self.ledger.has_ended(&roots).await.unwrap_or(false) {
            return true;
        }
        let unended = self.ledger.unended_behind_unread(&roots).await;
        let unended = unended.unwrap_or_default();
        !unended.is_empty()
            && unended.iter().all(|object| {
                object.refused || object.dead || supervisor.waits_for_others(object.object)
            })
    }
}
