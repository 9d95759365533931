//! The fetcher: lists its sources, reads what is new, and publishes it as chunks of whole records, in these steps:
//!
//! list → register in the ledger → lease → read ([`decode`], [`split`](jetline_formats::split)) → publish → settle, or read again what was lost.
//!
//! After a crash of any process, committed ranges are not read again. What is not committed is read again, also when the
//! queue has lost it.

mod check;
mod cli;
mod content;
mod declared;
pub mod decode;
mod deferral;
mod dismiss;
mod drop;
mod error;
mod infer;
mod ledger_command;
mod offline;
mod prefetch;
mod progress;
mod publish;
mod reader;
mod reading;
mod reconcile;
mod rejects;
mod replay;
mod replay_requests;
mod report;
mod retention;
mod retry;
mod settings;
mod sources;
mod terminal;
mod watermark;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use chrono::Utc;
use jetline_core::ObjectId;
use jetline_datasets::Datasets;
use jetline_queue::{Queue, Subject};
use jetline_runtime::{
    Backoff, Shutdown,
    metrics::{OBJECTS, RETRIES, create_counter},
};
use jetline_store::{Catalog, Database, Ledger, ObjectLedger, catalog::objects::ObjectStatus};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

pub use crate::{
    check::{CheckSettings, Checked, check},
    cli::{Cli, Command},
    dismiss::{DismissSettings, dismiss},
    infer::{InferSettings, Inferred, infer},
    ledger_command::LedgerCommand,
    rejects::RejectsSettings,
    replay::{ReplaySettings, Replayed, replay},
    report::{Report, StatusSettings},
    retention::Keep,
    settings::{FetcherSettings, OrderBy},
    sources::{ListingResult, RegisterError, Sources},
};
use crate::{
    declared::DeclaredFormats, progress::Progress, reader::Reader, reconcile::Reconciler,
    replay_requests::ReplayRequests, retention::Retention,
};

/// How often the ledger is polled for the state of the objects.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// When a poll takes long, the next one follows after this many times its duration, up to the maximum.
const POLL_BACKOFF_FACTOR: u32 = 2;
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Of how many objects the lines are counted that were committed before a run.
const MAX_COUNTED_OBJECTS: usize = 500;

/// The longest delay between two attempts to list the sources.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Fetches until every object is settled; with `WATCH`, until the shutdown.
pub async fn run(
    settings: &FetcherSettings,
    sources: Sources,
    queue: Arc<dyn Queue>,
    database: &Database,
    seed: u64,
    shutdown: &Shutdown,
) -> anyhow::Result<Report> {
    let datasets = database.datasets().await?;
    if settings.source.is_empty() && sources.have_intake() {
        settings.check_sizes(queue.max_body_bytes())?;
    } else {
        settings.check(&datasets, queue.max_body_bytes())?;
    }
    let stop = shutdown.soft.child_token();
    let declared = Arc::new(DeclaredFormats::new(database, datasets.clone()));
    let mut run = Run {
        settings: settings.clone(),
        database: database.clone(),
        datasets,
        sources: Arc::new(sources),
        declared,
        queue,
        ledger: Ledger::new(database, chrono::Utc::now).objects,
        catalog: Catalog::new(database),
        randomness: StdRng::seed_from_u64(seed),
        objects_registered: Arc::new(Notify::new()),
        first_new_object: None,
        lines_before: Some(0),
        open_before: BTreeSet::new(),
        has_open: false,
        listed: None,
    };
    create_counters();
    let begin = Instant::now();
    let registered = stop.run_until_cancelled(Box::pin(run.register())).await.transpose()?;
    run.count_lines_before().await;
    let mut ended = Ok(());
    if registered.is_some() && !run.has_work() {
        run.refuse_empty_sources()?;
    } else if registered.is_some() {
        let mut readers = run.spawn_readers(&stop);
        run.spawn_wakeups(&stop);
        if settings.watch.is_some() {
            tokio::spawn(run.retention().run(stop.clone()));
            let (ledger, datasets) = (run.ledger.clone(), run.datasets.clone());
            tokio::spawn(Retention::measure(ledger, datasets, stop.clone()));
            tokio::spawn(run.replay_requests().run(stop.clone()));
        }
        ended = run.poll_until_settled(&stop, &mut readers).await;
        stop.cancel();
        while let Some(reader) = readers.join_next().await {
            ended = ended.and(reader_result(reader));
        }
    }
    run.sources.remove_unfinished(&run.ledger).await;
    ended?;
    let mut retention = run.retention();
    let report = run.report(begin.elapsed()).await.context("cannot read the objects' final state");
    if settings.watch.is_none() {
        shutdown.soft.run_until_cancelled(retention.remove(Utc::now())).await;
    }
    report
}

fn create_counters() {
    for state in ["done", "failed"] {
        create_counter(OBJECTS, &[("state", state)]);
    }
    for part in ["source", "queue"] {
        create_counter(RETRIES, &[("part", part)]);
    }
}

type ReaderResult = Result<(), jetline_queue::Error>;

fn reader_result(ended: Result<ReaderResult, JoinError>) -> anyhow::Result<()> {
    ended.context("a reader crashed")?.context("publish chunks failed")
}

/// Whether a poll succeeded.
async fn poll(reconciler: &mut Reconciler) -> bool {
    let Err(error) = reconciler.poll().await else { return true };
    tracing::warn!(error = jetline_runtime::causes(&error), "poll ledger failed, retrying");
    false
}

struct Run {
    settings: FetcherSettings,
    database: Database,
    /// Those at the start, by which locations have their datasets.
    datasets: Datasets,
    sources: Arc<Sources>,
    declared: Arc<DeclaredFormats>,
    queue: Arc<dyn Queue>,
    ledger: ObjectLedger,
    catalog: Catalog,
    randomness: StdRng,
    objects_registered: Arc<Notify>,
    /// The lowest number that this run may register. The report reads from it on, so that nothing is kept of each object while
    /// the sources are watched.
    first_new_object: Option<ObjectId>,
    /// Lines of objects with lower numbers that were committed before this run, if they were counted.
    lines_before: Option<i64>,
    /// Objects with lower numbers that were open, or are replayed.
    open_before: BTreeSet<ObjectId>,
    /// Whether any object was open when the sources were last listed.
    has_open: bool,
    /// The result of the last listing.
    listed: Option<ListingResult>,
}

impl Run {
    fn retention(&self) -> Retention {
        Retention::new(self.ledger.clone(), self.sources.clone(), &self.settings)
    }

    fn replay_requests(&self) -> ReplayRequests {
        ReplayRequests {
            ledger: self.ledger.clone(),
            sources: self.sources.clone(),
            settings: self.settings.clone(),
            objects_registered: self.objects_registered.clone(),
        }
    }

    fn has_work(&self) -> bool {
        self.settings.watch.is_some() || self.has_open
    }

    /// Fails when no location matches any object: the locations are wrong.
    fn refuse_empty_sources(&self) -> anyhow::Result<()> {
        if let Some(ListingResult { listed: 0, missing, .. }) = &self.listed {
            anyhow::ensure!(
                missing.is_empty(),
                "there is nothing to read: no object matches {} (SOURCE)",
                missing.join(", ")
            );
        }
        Ok(())
    }

    /// Lists the sources and registers what is new, with retries. An unavailable source is retried until the startup
    /// timeout, like any server at start; with `WATCH`, so is one that does not exist.
    async fn register(&mut self) -> anyhow::Result<()> {
        let first = Duration::from_millis(200);
        let mut backoff = Backoff::new(first, MAX_DELAY, self.randomness.random());
        let begin = Instant::now();
        let watches = self.settings.watch.is_some();
        loop {
            match self.register_once().await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() || (watches && error.is_not_found()) => {
                    let delay = backoff.next_delay();
                    let is_source = matches!(error, RegisterError::List { .. });
                    if is_source && begin.elapsed() + delay > self.sources.startup_timeout() {
                        return Err(error).context("cannot start without the sources (SOURCE)");
                    }
                    tracing::warn!(
                        error = jetline_runtime::causes(&error),
                        delay_ms = jetline_runtime::millis(delay),
                        "register objects failed, retrying"
                    );
                    tokio::time::sleep(delay).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn register_once(&mut self) -> Result<(), RegisterError> {
        // Read first: a registration may be committed although its call fails, and the retry would find nothing new.
        let first_new_object = if let Some(first_new_object) = self.first_new_object {
            first_new_object
        } else {
            // The cause of a refusal may have been removed since the last run.
            self.ledger.retry_refused(&self.sources.roots()).await?;
            self.ledger.next().await?
        };
        self.first_new_object = Some(first_new_object);
        let current = self.database.datasets().await?;
        let Self { settings, datasets, ledger, randomness, .. } = self;
        let registered =
            self.sources.register(settings, datasets, &current, ledger, randomness).await?;
        let ListingResult { listed, new, .. } = registered;
        self.listed = Some(registered);
        let roots = self.sources.roots();
        self.has_open = !self.ledger.all_settled(&roots).await?;
        self.open_before.extend(self.ledger.open_before(first_new_object, &roots).await?);
        if new > 0 {
            tracing::info!(listed, new, "object versions registered");
            self.objects_registered.notify_waiters();
        }
        Ok(())
    }

    /// Counts the lines that were committed before this run, of open objects. The rate of the run is shown without them, and not
    /// at all where they are not counted: of very many objects, it is not worth the time.
    async fn count_lines_before(&mut self) {
        self.lines_before = None;
        if self.open_before.len() > MAX_COUNTED_OBJECTS {
            return;
        }
        let open: Vec<i64> = self.open_before.iter().map(|object| object.get()).collect();
        match self.catalog.objects_with(&open).await {
            Ok(objects) => {
                self.lines_before = Some(objects.iter().map(ObjectStatus::lines).sum());
            }
            Err(error) => tracing::debug!(
                error = jetline_runtime::causes(&error),
                "count committed lines failed"
            ),
        }
    }

    /// Wakes the readers when an API has registered objects.
    fn spawn_wakeups(&self, stop: &CancellationToken) {
        let wakeup = self.queue.wakeup(Subject::Objects);
        let (objects_registered, stop) = (self.objects_registered.clone(), stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            match wakeup.subscribe().await {
                Ok(mut listener) => loop {
                    listener.notified().await;
                    objects_registered.notify_waiters();
                },
                Err(error) => {
                    let error = jetline_runtime::causes(&error);
                    tracing::warn!(
                        error,
                        "subscribe to wake-ups failed, objects are read at the next poll"
                    );
                }
            }
        }));
    }

    fn spawn_readers(&mut self, stop: &CancellationToken) -> JoinSet<ReaderResult> {
        let mut readers = JoinSet::new();
        for _ in 0..self.settings.fetch_objects.get() {
            let reader = Reader {
                ledger: self.ledger.clone(),
                queue: self.queue.clone(),
                sources: self.sources.clone(),
                declared: self.declared.clone(),
                settings: self.settings.clone(),
                owner: format!("{:016x}", self.randomness.random::<u64>()),
                seed: self.randomness.random(),
                objects_registered: self.objects_registered.clone(),
            };
            readers.spawn(reader.run(stop.clone()));
        }
        readers
    }

    /// Polls the ledger until the shutdown, until every object is settled, or until a reader fails.
    async fn poll_until_settled(
        &mut self,
        stop: &CancellationToken,
        readers: &mut JoinSet<ReaderResult>,
    ) -> anyhow::Result<()> {
        let randomness = StdRng::from_rng(&mut self.randomness);
        let mut reconciler = Reconciler::new(
            self.ledger.clone(),
            self.queue.clone(),
            self.sources.roots(),
            &self.settings,
            randomness,
        );
        let mut progress = Progress::on_terminal(Utc::now, self.settings.watch.is_some());
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_list = self.settings.watch.map(|watch| Instant::now() + watch);
        let mut backoff = Backoff::new(POLL_INTERVAL, MAX_DELAY, self.randomness.random());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(reader) = readers.join_next() => {
                    reader_result(reader)?;
                    break;
                }
                _ = polls.tick() => {}
            }
            let began = Instant::now();
            let polled = poll(&mut reconciler).await;
            let interval = began.elapsed() * POLL_BACKOFF_FACTOR;
            polls.reset_after(interval.clamp(POLL_INTERVAL, MAX_POLL_INTERVAL));
            if !polled {
                continue;
            }
            // A large bucket is listed for minutes, in which objects end.
            let (listed, listing) = (CancellationToken::new(), stop.child_token());
            let list = async {
                let list = Box::pin(self.list_if_due(&mut next_list, &mut backoff));
                listing.run_until_cancelled(list).await;
                listed.cancel();
            };
            let poll = async {
                loop {
                    tokio::select! {
                        biased;
                        () = listed.cancelled() => break None,
                        Some(reader) = readers.join_next() => {
                            listing.cancel();
                            break Some(reader);
                        }
                        () = tokio::time::sleep(MAX_POLL_INTERVAL) => {}
                    }
                    poll(&mut reconciler).await;
                }
            };
            if let ((), Some(reader)) = tokio::join!(list, poll) {
                reader_result(reader)?;
                break;
            }
            if let Some(progress) = &mut progress {
                progress.draw(&self.catalog).await;
            }
            let next = next_list.or_else(|| self.sources.deferrals.next_listing());
            if next.is_none() && self.is_finished(&reconciler).await {
                break;
            }
        }
        if let Some(progress) = progress {
            progress.end(&self.catalog).await;
        }
        Ok(())
    }

    /// Lists the sources when it is time to, and sets when they are listed next, if they are.
    async fn list_if_due(&mut self, next: &mut Option<Instant>, backoff: &mut Backoff) {
        let now = Instant::now();
        let due = [*next, self.sources.deferrals.next_listing()];
        if due.into_iter().flatten().any(|at| at <= now) {
            let delay = self.register_again(backoff).await;
            self.sources.deferrals.on_listed(now);
            *next = delay.map(|delay| Instant::now() + delay);
        }
    }

    /// During a run no error of a source is fatal. Returns the delay until the next listing, if there is to be one.
    async fn register_again(&mut self, backoff: &mut Backoff) -> Option<Duration> {
        let Err(error) = self.register_once().await else {
            backoff.reset();
            return self.settings.watch;
        };
        tracing::warn!(error = jetline_runtime::causes(&error), "register objects failed");
        if error.is_transient() {
            return Some(backoff.next_delay());
        }
        let watch = self.settings.watch?;
        Some(backoff.next_delay().max(watch))
    }

    async fn report(self, elapsed: Duration) -> Result<Report, jetline_store::Error> {
        let mut objects: Vec<ObjectId> = self.open_before.into_iter().collect();
        if let Some(first_new_object) = self.first_new_object {
            let roots = self.sources.roots();
            objects.extend(self.ledger.registered_since(first_new_object, &roots).await?);
        }
        let listed = self.listed.as_ref();
        let mut report = Report::read(&self.catalog, listed, &objects, elapsed).await?;
        report.lines_before = self.lines_before;
        if let Some(listed) = listed {
            report.skipped = listed.skipped.clone();
            if self.settings.watch.is_none() {
                report.missing.clone_from(&listed.missing);
            }
        }
        Ok(report)
    }

    /// Whether every object is settled, or none of the open ones can be settled in this run: refused, with dead chunks,
    /// unreadable, or behind such an object. On an error, poll again.
    async fn is_finished(&self, reconciler: &Reconciler) -> bool {
        let roots = self.sources.roots();
        if self.ledger.all_settled(&roots).await.unwrap_or(false) {
            return true;
        }
        let open = self.ledger.open_objects_if_blocked(&roots).await.unwrap_or_default();
        !open.is_empty()
            && open.iter().all(|object| {
                object.refused || object.dead || reconciler.is_unreadable(object.object)
            })
    }
}
