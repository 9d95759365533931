//! Load for a long time, to detect growth with time or with the amount of work.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::Context;
use jetline_testkit::usage::Usage;
use serde::Serialize;

use crate::table::table;

use super::{
    ledger::LedgerSample,
    reads::{Readers, Reads},
    report::{self, Limit, Outcome, mebibytes, memory, shown},
    run::{Run, until_signal},
    sample::{Phase, Sample, Timed, as_f64, points},
    slope,
    watch::Watch,
};

/// The interval of samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// The maximum growth of a program's memory after the warm-up, in MiB per minute.
const SLOPE: f64 = 1.0;

/// How many more file descriptors a program may have at the end than after the warm-up, when its connection pool may not
/// have been full. A leak per object or request would be hundreds.
const FDS: f64 = 8.0;

/// The defaults of `DATABASE_CONNECTIONS`.
const POOL: u64 = 8;
const POOL_OF_API: u64 = 4;

/// The maximum size of an ended object in the ledger, without its rejected lines, in bytes.
const OBJECT: f64 = 2048.0;

/// Loads objects for a long time and checks for growth
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: Run,
}

#[derive(Serialize)]
struct SoakReport {
    seconds: f64,
    every_seconds: f64,
    seed: u64,
    seconds_to_done: f64,
    outcome: Outcome,
    /// Programs and servers.
    processes: BTreeMap<String, Growth>,
    connections: BTreeMap<&'static str, Connections>,
    ledger: LedgerGrowth,
    reads: Reads,
    limits: Vec<Limit>,
    samples: Vec<Timed>,
}

/// A process idle after the warm-up, and idle at the end.
#[derive(Serialize)]
struct Growth {
    before: Usage,
    after: Usage,
    peak_bytes: f64,
    /// The slope of the memory under load after the warm-up, in bytes.
    slope_per_minute: f64,
}

/// Connections of the programs to a server, when idle.
#[derive(Serialize)]
struct Connections {
    before: u64,
    after: u64,
}

/// The ledger when idle after the warm-up, and at the end; sizes in bytes.
#[derive(Serialize)]
struct LedgerGrowth {
    before: LedgerSample,
    after: LedgerSample,
    most_chunks: i64,
    bytes_per_object: f64,
    bytes_per_rejected_line: f64,
}

/// Executes the soak.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    until_signal(soak(&arguments.run))
}

async fn soak(run: &Run) -> anyhow::Result<ExitCode> {
    let deployment = run.start().await?;
    let programs = deployment.programs();
    let mut feed = run.feed();
    let mut watch = Watch::new(SAMPLE_INTERVAL);

    // The first quarter is the warm-up of pools, caches and the allocator.
    let readers = Readers::start(deployment.api, run.seed);
    let warm_up = feed.run_for(&deployment.s3, run.duration / 4);
    watch.during(Phase::WarmUp, &deployment, warm_up).await?;
    drop(readers);
    run.until_ended(&deployment, &feed).await;
    let before = watch.sample(Phase::RestBefore, &deployment).await?;

    let readers = Readers::start(deployment.api, run.seed + 1);
    let load = feed.run_for(&deployment.s3, run.duration / 4 * 3);
    watch.during(Phase::Load, &deployment, load).await?;
    let reads = readers.take();
    drop(readers);
    let ended = run.until_ended(&deployment, &feed).await;
    let after = watch.sample(Phase::RestAfter, &deployment).await?;

    let outcome = ended.outcome(&deployment, &feed).await?;
    deployment.end().context("a program failed")?;
    let processes = growth(&before, &after, &watch.samples)?;
    let ours = |name: &&String| programs.contains_key(*name);
    let connections = connections(&before, &after)?;
    let ledger = LedgerGrowth::of(&before, &after, &watch.samples)?;
    let mut limits = outcome.limits();
    limits.push(ended.bound(run));
    for name in processes.keys().filter(ours) {
        limits.extend(processes[name].limits(name));
    }
    limits.extend(bounds_of_connections(&connections, run.writers as u64));
    limits.extend(ledger.limits(feed.count()));
    limits.push(Limit::none("errors of the API", reads.error_count()));
    let report = SoakReport {
        seconds: run.duration.as_secs_f64(),
        every_seconds: run.every.as_secs_f64(),
        seed: run.seed,
        seconds_to_done: ended.seconds,
        outcome,
        processes,
        connections,
        ledger,
        reads,
        limits,
        samples: watch.samples,
    };
    report::finish(&report, &report.markdown(), &report.limits, &run.out)
}

fn growth(
    before: &Sample,
    after: &Sample,
    samples: &[Timed],
) -> anyhow::Result<BTreeMap<String, Growth>> {
    let growth = |(name, before): (&String, &Usage)| {
        let points = points(samples, &[Phase::Load], name, |process| process.memory_bytes);
        let after = after.processes.get(name);
        let growth = Growth {
            before: *before,
            after: *after.with_context(|| format!("{name} has ended"))?,
            peak_bytes: points.iter().map(|point| point.1).fold(0.0, f64::max),
            slope_per_minute: slope::per_minute(&points).context("too few samples: take longer")?,
        };
        Ok((name.clone(), growth))
    };
    before.processes.iter().map(growth).collect()
}

fn connections(
    before: &Sample,
    after: &Sample,
) -> anyhow::Result<BTreeMap<&'static str, Connections>> {
    let of = |count: fn(&Sample) -> Option<u64>| {
        let connections = Connections { before: count(before)?, after: count(after)? };
        Some(connections)
    };
    let postgres = of(|sample| Some(sample.ledger?.connections.cast_unsigned()));
    let nats = of(|sample| Some(sample.nats?.connections));
    let redis = of(|sample| Some(sample.redis?.connections));
    let all = [("postgres", postgres), ("nats", nats), ("redis", redis)];
    let format = |(server, connections): (&'static str, Option<Connections>)| {
        let connections = connections.with_context(|| format!("{server} did not respond"))?;
        Ok((server, connections))
    };
    all.into_iter().map(format).collect()
}

/// A pool may grow to its limit; other connections must not grow.
fn bounds_of_connections(
    connections: &BTreeMap<&'static str, Connections>,
    writers: u64,
) -> Vec<Limit> {
    let bound = |(server, connections): (&&'static str, &Connections)| {
        let limit = match *server {
            "postgres" => POOL * (writers + 1) + POOL_OF_API,
            _ => connections.before,
        };
        let what = format!("connections to {server} at the end");
        Limit::at_most(&what, as_f64(connections.after), as_f64(limit), "")
    };
    connections.iter().map(bound).collect()
}

impl Growth {
    fn limits(&self, name: &str) -> [Limit; 2] {
        let slope = mebibytes(self.slope_per_minute);
        let fds = as_f64(self.after.fds) - as_f64(self.before.fds);
        [
            Limit::at_most(&format!("slope of {name}"), slope, SLOPE, "MiB/min"),
            Limit::at_most(&format!("descriptors more in {name}"), fds, FDS, ""),
        ]
    }
}

impl LedgerGrowth {
    fn of(before: &Sample, after: &Sample, samples: &[Timed]) -> anyhow::Result<Self> {
        let ledger = |sample: &Sample| sample.ledger.context("the database did not respond");
        let (before, after) = (ledger(before)?, ledger(after)?);
        let each = |bytes: i64, rows: i64| {
            as_f64(bytes.max(0).cast_unsigned()) / as_f64(rows.max(1).cast_unsigned())
        };
        let chunks = samples.iter().filter_map(|timed| timed.sample.ledger);
        Ok(Self {
            before,
            after,
            most_chunks: chunks.map(|ledger| ledger.chunks).max().unwrap_or(0),
            bytes_per_object: each(
                after.objects_bytes - before.objects_bytes,
                after.objects - before.objects,
            ),
            bytes_per_rejected_line: each(
                after.rejected_lines_bytes - before.rejected_lines_bytes,
                after.rejected_lines - before.rejected_lines,
            ),
        })
    }

    /// One row for each object, none for chunks of done objects, and a bounded size.
    fn limits(&self, objects: u64) -> [Limit; 2] {
        let more = self.after.objects.cast_unsigned().saturating_sub(objects);
        [
            Limit::none("rows of objects beyond one for each", more),
            Limit::at_most("ledger for each object", self.bytes_per_object, OBJECT, "bytes"),
        ]
    }
}

impl SoakReport {
    fn markdown(&self) -> String {
        let processes = self.processes.iter().map(|(name, growth)| {
            vec![
                name.clone(),
                memory(as_f64(growth.before.memory_bytes)),
                memory(as_f64(growth.after.memory_bytes)),
                memory(growth.peak_bytes),
                format!("{:.3}", mebibytes(growth.slope_per_minute)),
                format!("{} → {}", growth.before.fds, growth.after.fds),
                format!("{} → {}", growth.before.threads, growth.after.threads),
            ]
        });
        let connections = self.connections.iter().map(|(server, count)| {
            vec![(*server).to_owned(), count.before.to_string(), count.after.to_string()]
        });
        format!(
            "## {} s of load\n\nAn object every {} s. {} The API served {} requests, {} with errors.\n\n{}\n{}\n{}",
            shown(self.seconds),
            shown(self.every_seconds),
            self.outcome.sentence(),
            self.reads.answered,
            self.reads.error_count(),
            table(
                &[
                    "process",
                    "memory before, MiB",
                    "after",
                    "peak",
                    "slope per minute",
                    "descriptors",
                    "threads"
                ],
                processes
            ),
            table(&["connections", "before", "after"], connections),
            self.ledger.markdown(),
        )
    }
}

impl LedgerGrowth {
    fn markdown(&self) -> String {
        let row = |name: &str, count: fn(&LedgerSample) -> i64, bytes: fn(&LedgerSample) -> i64| {
            let kibibytes = |sample| (bytes(sample) / 1024).to_string();
            vec![
                name.to_owned(),
                format!("{} → {}", count(&self.before), count(&self.after)),
                format!("{} → {}", kibibytes(&self.before), kibibytes(&self.after)),
            ]
        };
        let rows = [
            row("objects", |ledger| ledger.objects, |ledger| ledger.objects_bytes),
            row("chunks", |ledger| ledger.chunks, |ledger| ledger.chunks_bytes),
            row(
                "rejected_lines",
                |ledger| ledger.rejected_lines,
                |ledger| ledger.rejected_lines_bytes,
            ),
        ];
        format!(
            "{}\n{} bytes more for each object, {} for each rejected line; {} rows of chunks at most.\n",
            table(&["ledger", "rows", "KiB"], rows.into_iter()),
            shown(self.bytes_per_object.round()),
            shown(self.bytes_per_rejected_line.round()),
            self.most_chunks,
        )
    }
}
