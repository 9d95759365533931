//! A server is unavailable for a long time under load; then it is started again, and the result must be as without it.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::Context;
use jetline_runtime::settings;
use serde::Serialize;
use tokio::time::sleep;

use crate::{campaign::Part, table::table};

use super::{
    deployment::Deployment,
    feed::Feed,
    reads::{Readers, Reads},
    report::{self, Limit, Outcome, mebibytes, memory, shown},
    run::{Ended, Run, until_signal},
    sample::{Phase, Timed, points},
    slope,
    watch::Watch,
};

/// The interval of samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// How many objects are put at once right before the server stops, so that it stops during work.
const BURST: u64 = 10;

/// The timeout until some of them are loading.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the API gets requests after everything is done.
const LAST_READS: Duration = Duration::from_secs(5);

/// How much the memory of a program may grow during the outage, in MiB.
const MAX_GROWTH: f64 = 64.0;

/// Stops a server of a running installation for a long time, and compares the final result
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server to stop
    #[arg(long)]
    part: Part,

    /// How long to load objects before it stops
    #[arg(long, value_name = "DURATION", value_parser = settings::duration, default_value = "1m")]
    warm_up: Duration,

    #[command(flatten)]
    run: Run,
}

#[derive(Serialize)]
struct OutageReport {
    part: Part,
    outage_seconds: f64,
    every_seconds: f64,
    seed: u64,
    objects_put_during_outage: u64,
    seconds_from_return_to_done: f64,
    outcome: Outcome,
    programs: BTreeMap<String, Memory>,
    reads: BTreeMap<&'static str, Reads>,
    limits: Vec<Limit>,
    samples: Vec<Timed>,
}

/// Resident memory of a program, in bytes.
#[derive(Serialize)]
struct Memory {
    pid: u32,
    before: f64,
    peak_during_outage: f64,
    growth_during_outage: f64,
    /// Over the second half of the time, per minute.
    slope_during_outage: f64,
    peak_in_recovery: f64,
}

/// Executes the outage.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    until_signal(outage(arguments))
}

async fn outage(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut scene = Scene::start(arguments).await?;
    scene.warm_up().await?;
    scene.deployment.stop_server(arguments.part)?;
    let objects_put_during_outage = scene.unavailable().await?;
    scene.deployment.start_server(arguments.part)?;
    let ended = scene.recover().await?;
    let report = scene.report(&ended, objects_put_during_outage).await?;
    scene.deployment.end()?;
    report::finish(&report, &report.markdown(), &report.limits, &arguments.run.out)
}

/// A running outage.
struct Scene<'a> {
    arguments: &'a Arguments,
    deployment: Deployment,
    programs: BTreeMap<String, u32>,
    feed: Feed,
    watch: Watch,
    readers: Readers,
    reads: BTreeMap<&'static str, Reads>,
}

impl<'a> Scene<'a> {
    async fn start(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let run = &arguments.run;
        let deployment = run.start().await?;
        Ok(Self {
            arguments,
            programs: deployment.programs(),
            feed: run.feed(),
            watch: Watch::new(SAMPLE_INTERVAL),
            readers: Readers::start(deployment.api, run.seed),
            reads: BTreeMap::new(),
            deployment,
        })
    }

    /// Loads for a while, until there is work for the outage to interrupt.
    async fn warm_up(&mut self) -> anyhow::Result<()> {
        let deployment = &self.deployment;
        let load = self.feed.run_for(&deployment.s3, self.arguments.warm_up);
        self.watch.during(Phase::WarmUp, deployment, load).await?;
        self.feed.burst(&deployment.s3, BURST).await;
        let busy = deployment.ledger.until_busy(BUSY_TIMEOUT).await;
        busy.context("no object is loading: the outage would interrupt no work")?;
        self.watch.sample(Phase::WarmUp, deployment).await?;
        self.reads.insert("before", self.readers.take());
        Ok(())
    }

    /// Continues to put objects, unless S3 is stopped; returns how many.
    async fn unavailable(&mut self) -> anyhow::Result<u64> {
        let time = self.arguments.run.duration;
        let before = self.feed.count();
        let load = async {
            if self.arguments.part == Part::S3 {
                sleep(time).await;
                return Ok(());
            }
            self.feed.run_for(&self.deployment.s3, time).await
        };
        self.watch.during(Phase::Outage, &self.deployment, load).await?;
        self.reads.insert("outage", self.readers.take());
        Ok(self.feed.count() - before)
    }

    /// Waits until everything is done; then the API gets requests for a while more.
    async fn recover(&mut self) -> anyhow::Result<Ended> {
        let (run, deployment) = (&self.arguments.run, &self.deployment);
        let ended = async { Ok(run.until_ended(deployment, &self.feed).await) };
        let ended = self.watch.during(Phase::Recovery, deployment, ended).await?;
        self.reads.insert("recovery", self.readers.take());
        let last_reads = async {
            sleep(LAST_READS).await;
            Ok(())
        };
        let last = self.watch.during(Phase::RestAfter, deployment, last_reads);
        last.await?;
        self.reads.insert("after", self.readers.take());
        Ok(ended)
    }

    async fn report(
        &self,
        ended: &Ended,
        objects_put_during_outage: u64,
    ) -> anyhow::Result<OutageReport> {
        let (part, run) = (self.arguments.part, &self.arguments.run);
        let outcome = ended.outcome(&self.deployment, &self.feed).await?;
        let mut programs = BTreeMap::new();
        for (name, pid) in &self.programs {
            let memory = Memory::of(*pid, name, &self.watch.samples)?;
            programs.insert(name.clone(), memory);
        }
        let mut limits = outcome.limits();
        limits.push(ended.bound(run));
        limits.extend(programs.iter().map(|(name, memory)| memory.bound(name)));
        limits.extend(bounds_of_reads(part, &self.reads));
        Ok(OutageReport {
            part,
            outage_seconds: run.duration.as_secs_f64(),
            every_seconds: run.every.as_secs_f64(),
            seed: run.seed,
            objects_put_during_outage,
            seconds_from_return_to_done: ended.seconds,
            outcome,
            programs,
            reads: self.reads.clone(),
            limits,
            samples: self.watch.samples.clone(),
        })
    }
}

/// The API depends only on the database, and must recover by itself.
fn bounds_of_reads(part: Part, reads: &BTreeMap<&'static str, Reads>) -> Vec<Limit> {
    reads
        .iter()
        .filter(|(phase, _)| part != Part::Postgres || matches!(**phase, "before" | "after"))
        .map(|(phase, reads)| {
            Limit::none(&format!("errors of the API, {phase}"), reads.error_count())
        })
        .collect()
}

impl Memory {
    fn of(pid: u32, name: &str, samples: &[Timed]) -> anyhow::Result<Self> {
        let of = |phase| points(samples, &[phase], name, |process| process.memory_bytes);
        let peak = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);
        let (outage, recovery) = (of(Phase::Outage), of(Phase::Recovery));
        let before = of(Phase::WarmUp);
        let before = before.last().context("no sample before")?.1;
        let second_half = &outage[outage.len() / 2..];
        Ok(Self {
            pid,
            before,
            peak_during_outage: peak(&outage),
            growth_during_outage: peak(&outage) - before,
            slope_during_outage: slope::per_minute(second_half)
                .context("too few samples during the outage: take longer")?,
            peak_in_recovery: peak(&recovery),
        })
    }

    fn bound(&self, name: &str) -> Limit {
        let growth = mebibytes(self.growth_during_outage);
        let what = format!("growth of {name} during the outage");
        Limit::at_most(&what, growth, MAX_GROWTH, "MiB")
    }
}

impl OutageReport {
    fn markdown(&self) -> String {
        let programs = self.programs.iter().map(|(name, program)| {
            vec![
                name.clone(),
                memory(program.before),
                memory(program.peak_during_outage),
                memory(program.growth_during_outage),
                format!("{:.3}", mebibytes(program.slope_during_outage)),
                memory(program.peak_in_recovery),
            ]
        });
        let reads = self.reads.iter().map(|(phase, reads)| {
            vec![(*phase).to_owned(), reads.answered.to_string(), reads.error_count().to_string()]
        });
        format!(
            "## {:?} unavailable for {} s\n\nAn object every {} s, {} of them meanwhile. All done {} s after it was started again. {}\n\n{}\n{}",
            self.part,
            shown(self.outage_seconds),
            shown(self.every_seconds),
            self.objects_put_during_outage,
            shown(self.seconds_from_return_to_done),
            self.outcome.sentence(),
            table(
                &[
                    "memory, MiB",
                    "before",
                    "peak, outage",
                    "growth",
                    "slope per minute",
                    "peak, recovery"
                ],
                programs
            ),
            table(&["API", "answered", "errors"], reads),
        )
    }
}
