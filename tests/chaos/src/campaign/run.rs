//! One run: services are started, disrupted and restarted until everything is loaded; then the database is compared.

use std::{
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use jetline_oracle::ledger::Ledger;
use jetline_store::{Database, DeclarationFile};
use jetline_testkit::{postgres::TemporaryDatabase, process::Signal};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    spawn,
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{files::File, kinds};

use super::{
    assembly::{BUCKET, Site},
    disruptions::Disruption,
    fault::{Fault, Kind},
    injector::{Injector, Instance, Request},
    plan::{Mode, Plan},
    receiver::Receiver,
    refusal::Refusal,
    service::{End, Service},
    slot::Slot,
    step::{Role, Step},
    verdict::{self, Verdict},
};

/// The most repetitions of the job.
const MAX_RUNS: u32 = 20;

/// The timeout without progress: nothing was published or committed.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The maximum duration of a run, which normally takes seconds.
const MAX_RUN_TIME: Duration = Duration::from_mins(8);

/// The interval of polling the services: the end of a process is no event.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The most starts of an instance.
const MAX_STARTS: usize = 250;

/// The modification time of the first file, in seconds since 1970.
const FIRST_MODIFIED: i64 = 1_700_000_000;

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) planned: Vec<Fault>,
    pub(crate) fired: Vec<Fault>,
    pub(crate) mode: Mode,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) of_datasets: Option<&'static str>,
    pub(crate) verdict: Verdict,
    pub(crate) steps: std::collections::BTreeMap<Step, u32>,
}

/// Runs a plan on the servers of a slot.
pub(crate) async fn run(slot: &Arc<Slot>, plan: Plan, folder: &Path) -> anyhow::Result<Outcome> {
    let seed = plan.seed;
    let database = TemporaryDatabase::create_at(&slot.database("postgres"), "chaos").await;
    let ledger = Ledger::connect(&database.url()).await?;
    declare(&database.url(), false, plan.couriers > 0).await?;
    if let Some(refusal) = plan.refusal {
        refusal.put(&ledger).await?;
    }
    put_files(slot, &plan, 0..plan.before_change).await;
    let (disruptions, requests) = mpsc::channel(16);
    let site = Arc::new(Site {
        injector: Injector::new(&plan.faults, disruptions),
        slot: slot.clone(),
        database: database.name().to_owned(),
        stream: format!("CHAOS_{seed}"),
        prefix: format!("chaos-{seed}"),
        folder: folder.to_owned(),
        receiver: Receiver::start(seed)?,
        plan,
    });
    let mut run = Run {
        random: StdRng::seed_from_u64(!seed),
        requests,
        services: Vec::new(),
        started: 0,
        failures: Vec::new(),
        later: JoinSet::new(),
        effects: Vec::new(),
        progress: 0,
        moved: Instant::now(),
        begun: Instant::now(),
        ledger,
        site,
    };
    let verdict = run.load_and_compare().await;
    slot.reset_faults();
    run.later.shutdown().await;
    run.services.clear();
    slot.clean_up(&run.site.stream, &bucket(&run.site.plan)).await?;
    Ok(Outcome {
        planned: run.site.plan.faults.clone(),
        fired: run.fired(),
        mode: run.site.plan.mode,
        refusal: run.site.plan.refusal,
        of_datasets: run.site.plan.of_datasets(),
        verdict: verdict?,
        steps: run.site.injector.begun(),
    })
}

/// A run, as disruptions see it.
pub(super) struct Run {
    pub(super) site: Arc<Site>,
    pub(super) ledger: Ledger,
    random: StdRng,
    requests: mpsc::Receiver<Request>,
    pub(super) services: Vec<Service>,
    started: usize,
    /// Instances that ended with an error that is not wrong: a server was unavailable at the start.
    failures: Vec<String>,
    pub(super) later: JoinSet<anyhow::Result<()>>,
    /// The disruptions that can happen without an effect, and how many there were before each.
    effects: Vec<(&'static dyn Disruption, u64)>,
    /// The progress counter, and when it last increased.
    progress: u32,
    moved: Instant,
    begun: Instant,
}

impl Run {
    async fn load_and_compare(&mut self) -> anyhow::Result<Verdict> {
        for _ in 0..self.site.plan.writers {
            self.start(Role::Writer).await?;
        }
        for _ in 0..self.site.plan.fetchers {
            self.start(Role::Fetcher).await?;
        }
        for _ in 0..self.site.plan.couriers {
            self.start(Role::Courier).await?;
        }
        let mut stuck = self.change_declarations().await?;
        if stuck.is_none() {
            stuck = self.until_fetchers_end().await?;
        }
        // The next run of the job: what came after the last listing, and whatever is open still. One more for each time
        // that objects were refused again.
        for _ in 0..MAX_RUNS {
            if stuck.is_none() {
                self.start(Role::Fetcher).await?;
                stuck = self.until_fetchers_end().await?;
            }
            if stuck.is_some() || !verdict::has_refused(&self.ledger).await? {
                break;
            }
        }
        if stuck.is_none() && self.site.plan.drain {
            stuck = self.until_drained().await?;
        }
        if stuck.is_none() && self.site.plan.couriers > 0 {
            stuck = self.until_delivered().await?;
        }
        if stuck.is_none() {
            stuck = self.stop_writers().await?;
        }
        if stuck.is_none() && self.begun.elapsed() > MAX_RUN_TIME {
            stuck = Some(format!("it took {:?}", self.begun.elapsed()));
        }
        // A server that did not start again is the reason of all that follows.
        while let Some(healed) = self.later.join_next().await {
            healed??;
        }
        let mut verdict = Verdict::default();
        if let Some(stuck) = stuck {
            verdict.wrong(stuck);
            for line in self.diagnostics().await? {
                verdict.find(&line);
            }
        }
        verdict::compare(&self.ledger, &self.site.plan, &mut verdict).await?;
        if self.site.plan.couriers > 0 {
            let url = self.site.slot.database(&self.site.database);
            self.site.receiver.compare(&url, &mut verdict).await?;
        }
        if let Some(panicked) = self.failures.iter().find(|end| end.contains("panicked")) {
            verdict.wrong(panicked.clone());
        }
        Ok(verdict)
    }

    /// Declares other datasets while files are being loaded, and puts the files that are read by them.
    async fn change_declarations(&mut self) -> anyhow::Result<Option<String>> {
        let (before, files) = (self.site.plan.before_change, self.site.plan.files.len());
        if before == files {
            return Ok(None);
        }
        let progress = self.random.random_range(0..20);
        let stuck = self
            .until("the declarations change", |run| {
                let has_fetcher = run.services.iter().any(|one| one.role == Role::Fetcher);
                Ok(run.progress >= progress || !has_fetcher)
            })
            .await?;
        if stuck.is_some() {
            return Ok(stuck);
        }
        // A step that is held until a disruption has happened may have the lock.
        let declaring = spawn(declare_others(
            self.site.slot.database(&self.site.database),
            self.site.plan.couriers > 0,
        ));
        let stuck =
            self.until("other datasets are declared", |_| Ok(declaring.is_finished())).await?;
        if stuck.is_some() {
            declaring.abort();
            return Ok(stuck);
        }
        declaring.await??;
        put_files(&self.site.slot, &self.site.plan, before..files).await;
        Ok(None)
    }

    async fn diagnostics(&self) -> anyhow::Result<Vec<String>> {
        let mut lines = verdict::diagnose(&self.ledger).await?;
        lines.extend(self.site.slot.stream_state(&self.site.stream).await?);
        for service in &self.services {
            lines.push(format!("{:?} {:?} runs", service.role, service.instance));
            lines.extend(service.end_of_log());
        }
        lines.push(format!("steps executed: {:?}", self.site.injector.begun()));
        Ok(lines)
    }

    async fn start(&mut self, role: Role) -> anyhow::Result<()> {
        let instance = Instance(self.started);
        self.started += 1;
        let service = Service::start(&self.site, role, instance).await?;
        self.services.push(service);
        Ok(())
    }

    /// Waits until no fetcher is left; returns a message after the timeout.
    async fn until_fetchers_end(&mut self) -> anyhow::Result<Option<String>> {
        self.until("everything is loaded", |run| {
            let mut services = run.services.iter();
            Ok(!services.any(|service| service.role == Role::Fetcher))
        })
        .await
    }

    /// Waits for redeliveries of committed chunks.
    async fn until_drained(&mut self) -> anyhow::Result<Option<String>> {
        let begin = Instant::now();
        while begin.elapsed() < TIMEOUT {
            if self.site.slot.messages(&self.site.stream).await? == 0 {
                return Ok(None);
            }
            let next = Instant::now() + POLL_INTERVAL * 5;
            let waited = self.until("", |_| Ok(Instant::now() >= next)).await?;
            if waited.is_some() {
                return Ok(waited);
            }
        }
        Ok(Some("the stream is never empty".to_owned()))
    }

    /// Waits until nothing is to be delivered any more.
    async fn until_delivered(&mut self) -> anyhow::Result<Option<String>> {
        let begin = Instant::now();
        let waiting = "SELECT key AS text FROM delivery_changes
             UNION ALL SELECT key FROM deliveries WHERE due_at IS NOT NULL LIMIT 1";
        while begin.elapsed() < TIMEOUT {
            // The server may be restarting.
            if self.ledger.texts(waiting).await.is_ok_and(|waiting| waiting.is_empty()) {
                return Ok(None);
            }
            let next = Instant::now() + POLL_INTERVAL * 5;
            let waited = self.until("", |_| Ok(Instant::now() >= next)).await?;
            if waited.is_some() {
                return Ok(waited);
            }
        }
        Ok(Some("not everything is delivered".to_owned()))
    }

    async fn stop_writers(&mut self) -> anyhow::Result<Option<String>> {
        for service in &self.services {
            service.stop();
        }
        let mut looks = interval(POLL_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let begin = Instant::now();
        while begin.elapsed() < TIMEOUT {
            tokio::select! {
                Some(request) = self.requests.recv() => self.disrupt(request).await?,
                _ = looks.tick() => {}
            }
            let mut left = Vec::new();
            for mut service in self.services.drain(..) {
                match service.end()? {
                    None => left.push(service),
                    Some(End::Failed(error)) => self.failures.push(error),
                    Some(End::Crashed | End::Well) => {}
                }
            }
            self.services = left;
            if self.services.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some("a writer does not end".to_owned()))
    }

    /// Injects disruptions and restarts services until a condition holds; returns a message after the timeout.
    async fn until(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Option<String>> {
        let mut looks = interval(POLL_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !holds(self)? {
            tokio::select! {
                Some(request) = self.requests.recv() => self.disrupt(request).await?,
                _ = looks.tick() => {}
            }
            self.replace_ended().await?;
            let progress = self.site.injector.progress();
            if progress != self.progress {
                (self.progress, self.moved) = (progress, Instant::now());
            }
            if self.moved.elapsed() > TIMEOUT || self.begun.elapsed() > MAX_RUN_TIME {
                let last = self.failures.last();
                return Ok(Some(format!(
                    "timeout waiting until {what}; the last failure: {last:?}"
                )));
            }
            anyhow::ensure!(
                self.failures.len() < MAX_STARTS,
                "too many starts: {:?}",
                self.failures.last()
            );
        }
        Ok(None)
    }

    /// Restarts services that crashed or failed.
    async fn replace_ended(&mut self) -> anyhow::Result<()> {
        let mut ended = Vec::new();
        for number in (0..self.services.len()).rev() {
            if let Some(end) = self.services[number].end()? {
                let service = self.services.swap_remove(number);
                ended.push((service.role, end));
            }
        }
        for (role, end) in ended {
            match end {
                End::Well if role == Role::Fetcher => continue,
                End::Well => {
                    self.failures.push(format!("a {} ended without a shutdown", role.name()));
                }
                End::Failed(error) => {
                    tracing::debug!(error, "a service failed");
                    self.failures.push(error);
                }
                End::Crashed => {}
            }
            // Like a process supervisor.
            sleep(Duration::from_millis(self.random.random_range(0..150))).await;
            self.start(role).await?;
        }
        Ok(())
    }

    async fn disrupt(&mut self, request: Request) -> anyhow::Result<()> {
        let Request { disruption, by, broken } = request;
        tracing::debug!(?disruption, "disruption");
        self.effects.extend(disruption.effects(self.slot()).map(|before| (disruption, before)));
        let happened = disruption.happen(self, by).await;
        happened.with_context(|| format!("disruption failed: {}", disruption.name()))?;
        // The step may have been cancelled meanwhile.
        let _ = broken.send(());
        Ok(())
    }

    /// The faults that have happened, without those that had no effect.
    fn fired(&self) -> Vec<Fault> {
        let mut fired = self.site.injector.fired();
        for (disruption, before) in &self.effects {
            if disruption.effects(self.slot()) <= Some(*before) {
                let place =
                    fired.iter().position(|fault| fault.kind == Kind::Disruption(*disruption));
                if let Some(place) = place {
                    fired.remove(place);
                }
            }
        }
        fired
    }

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.site.slot
    }

    pub(super) fn stop_for_a_while(&mut self, by: Instance, time: Duration) {
        let Some(service) = self.services.iter().find(|service| service.instance == by) else {
            return;
        };
        service.signal(Signal::STOP);
        let Some(pid) = service.pid() else { return };
        self.later.spawn(async move {
            sleep(time).await;
            // It may have ended.
            let _ = rustix::process::kill_process(pid, Signal::CONT);
            Ok(())
        });
    }
}

pub(super) fn bucket(plan: &Plan) -> String {
    format!("{BUCKET}-{}", plan.seed)
}

pub(super) async fn put_files(slot: &Slot, plan: &Plan, numbers: Range<usize>) {
    let bucket = bucket(plan);
    if numbers.start == 0 {
        slot.s3.create_bucket(&bucket);
    }
    for number in numbers {
        put(slot, &bucket, &plan.files[number], number).await;
    }
}

/// Declares all datasets, as `jetline-migrate` does.
async fn declare(url: &str, changed: bool, is_delivering: bool) -> anyhow::Result<()> {
    let files = kinds::declarations(changed, is_delivering)
        .map(|(name, text)| DeclarationFile::new(name, name, &text))
        .collect::<Result<Vec<_>, _>>()?;
    let database = Database::connect(url, 1).await?;
    database.declare(&files).await?;
    database.connection().close_by_ref().await?;
    Ok(())
}

pub(super) async fn put(slot: &Slot, bucket: &str, file: &File, number: usize) {
    slot.s3.put(bucket, &file.key, file.stored().await);
    let second = FIRST_MODIFIED + i64::try_from(number).unwrap_or_default();
    if let Some(time) = chrono::DateTime::from_timestamp(second, 0) {
        slot.s3.set_last_modified(bucket, &file.key, time);
    }
}

/// Declares other datasets. The server may be unavailable just now.
async fn declare_others(url: String, is_delivering: bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    while let Err(error) = declare(&url, true, is_delivering).await {
        anyhow::ensure!(begin.elapsed() < TIMEOUT, "declare datasets failed: {error:#}");
        sleep(POLL_INTERVAL * 20).await;
    }
    Ok(())
}
