//! `read`: records by id through the API, asked by wrk: connections that are kept, a request on each at a time. pgbench selects
//! the same rows from PostgreSQL itself.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use jetline_testkit::{
    process::{Process, Signal, program},
    usage::Scope,
};
use serde::Deserialize;
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_util::sync::CancellationToken;

use super::{
    Bench, case,
    cases::job,
    count,
    data::Data,
    freshness::oldest_answer,
    processes::Processes,
    report::{Outcome, Run, cores},
    services::Servers,
};
use crate::install;

const CLIENTS: [usize; 3] = [1, 16, 64];

/// What pgbench selects.
const SELECT: &str = "SELECT * FROM products WHERE id = :id;";

/// What is in front of the number of transactions.
const SELECTED: &str = "number of transactions actually processed:";

/// Ids that are asked for again and again.
const HOT: u64 = 1000;

pub(super) fn run(bench: &Bench) -> Outcome {
    install::missing(&[("wrk", "wrk", "wrk")])?;
    program("pgbench")?;
    let data = Data::get(&bench.lines())?;
    let servers = Servers::start(bench)?;
    servers.run(&job(bench, &data, "files"))?;
    servers.postgres.vacuum()?;
    servers.postgres.checkpoint()?;
    let mut api = Api::start(bench, &servers)?;
    let cases = CLIENTS.into_iter().flat_map(|clients| {
        let (api, name) = (&api, count(clients, "client"));
        let (any, hot) = (data.ids, HOT.min(data.ids));
        [
            case(&format!("any id, {name}"), move || api.read(clients, any)),
            case(&format!("hot ids, {name}"), move || api.read_updated(clients, hot)),
            case(&format!("pgbench, {name}"), move || api.pgbench(clients, any)),
        ]
    });
    let what = format!(
        "GET by id, at random out of {} or {HOT} ids, {} s each",
        data.ids, bench.arguments.seconds
    );
    let measured = bench.measure(cases.collect())?;
    api.process.stop(Signal::TERM)?;
    Ok((what, measured))
}

/// The running API.
struct Api<'a> {
    bench: &'a Bench<'a>,
    servers: &'a Servers<'a>,
    process: Process,
    address: SocketAddr,
    // After the process, which writes to it.
    folder: tempfile::TempDir,
}

impl<'a> Api<'a> {
    fn start(bench: &'a Bench, servers: &'a Servers) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let installation = servers.installation(folder.path());
        let api = installation.serve("jetline-api", "/readyz");
        let (process, address) = Runtime::new()?.block_on(api)?;
        Ok(Self { bench, servers, process, address, folder })
    }

    /// Ids from 1 on are asked for at random.
    fn read(&self, clients: usize, ids: u64) -> anyhow::Result<Run> {
        let postgres = self.servers.postgres.pid()?;
        let mut processes = Processes::new(&self.bench.interrupt);
        processes.watch("jetline-api", self.process.id(), Scope::Alone)?;
        processes.watch("postgres", postgres, Scope::WithChildren)?;
        let script = self.folder.path().join("wrk.lua");
        fs::write(&script, include_str!("wrk.lua"))?;
        let mut command = Command::new(program("wrk")?);
        command
            .arg(format!("--threads={}", clients.min(cores())))
            .arg(format!("--connections={clients}"))
            .arg(format!("--duration={}s", self.bench.arguments.seconds))
            .arg("--script")
            .arg(script)
            .arg(format!("http://{}", self.address))
            .args(["--", &ids.to_string()]);
        let mut wrk = Process::start(command, &self.folder.path().join("wrk"))?;
        processes.watch("wrk", wrk.id(), Scope::Alone)?;
        processes.until_done("wrk", &mut wrk)?;
        let answers = Answers::of(&wrk)?;
        Ok(Run {
            time: Duration::from_micros(answers.micros),
            work: Some(answers.requests),
            figures: [("p50, ms", answers.p50), ("p99, ms", answers.p99)].into(),
            processes: processes.usage(),
        })
    }

    /// Rows from 1 on are selected at random.
    fn pgbench(&self, clients: usize, ids: u64) -> anyhow::Result<Run> {
        let postgres = self.servers.postgres.pid()?;
        let mut processes = Processes::new(&self.bench.interrupt);
        processes.watch("postgres", postgres, Scope::WithChildren)?;
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("select.sql");
        fs::write(&script, format!("\\set id random(1, {ids})\n{SELECT}\n"))?;
        let seconds = self.bench.arguments.seconds;
        let mut command = Command::new(program("pgbench")?);
        command
            .env("LC_ALL", "C")
            .args(["--no-vacuum", "--protocol=prepared", "--log", "--sampling-rate=0.1"])
            .arg(format!("--log-prefix={}", folder.path().join("latencies").display()))
            .arg(format!("--jobs={}", clients.min(cores())))
            .arg(format!("--client={clients}"))
            .arg(format!("--time={seconds}"))
            .arg("--file")
            .arg(script)
            .arg(self.servers.postgres.url());
        let mut pgbench = Process::start(command, &folder.path().join("pgbench"))?;
        processes.watch("pgbench", pgbench.id(), Scope::Alone)?;
        processes.until_done("pgbench", &mut pgbench)?;
        let output = pgbench.output();
        let selected = output.lines().find_map(|line| line.strip_prefix(SELECTED));
        let selected = selected.with_context(|| format!("pgbench said {output}"))?;
        let latencies = latencies(folder.path())?;
        Ok(Run {
            time: Duration::from_secs(seconds.into()),
            work: Some(selected.trim().parse()?),
            figures: [("p50, ms", rank(&latencies, 50)?), ("p99, ms", rank(&latencies, 99)?)]
                .into(),
            processes: processes.usage(),
        })
    }

    /// The same while rows are updated, with the age of the oldest answer.
    fn read_updated(&self, clients: usize, ids: u64) -> anyhow::Result<Run> {
        let runtime = Runtime::new()?;
        let ended = CancellationToken::new();
        let stream = runtime.block_on(TcpStream::connect(self.address))?;
        let url = self.servers.postgres.url().to_owned();
        let oldest = runtime.spawn(oldest_answer(url, stream, ids, ended.clone()));
        let run = self.read(clients, ids);
        ended.cancel();
        let oldest = runtime.block_on(oldest)??.as_secs_f64();
        let mut run = run?;
        run.figures.insert("oldest, ms", oldest * 1000.0);
        Ok(run)
    }
}

/// The latencies in pgbench's logs in milliseconds, in their order.
fn latencies(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let mut latencies = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("latencies") {
            for line in fs::read_to_string(file.path())?.lines() {
                // After the client and the number of its transaction.
                let micros =
                    line.split(' ').nth(2).with_context(|| format!("pgbench logged {line}"))?;
                latencies.push(micros.parse::<f64>()? / 1000.0);
            }
        }
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// The value that so many percent do not exceed.
fn rank(sorted: &[f64], percent: usize) -> anyhow::Result<f64> {
    sorted.get(sorted.len() * percent / 100).copied().context("pgbench logged nothing")
}

/// What wrk says in its last line.
#[derive(Deserialize)]
pub(super) struct Answers {
    pub(super) requests: u64,
    pub(super) micros: u64,
    /// In milliseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
    /// Requests without an answer, or with another one than the record.
    failed: u64,
}

impl Answers {
    /// Fails if not all requests succeeded.
    pub(super) fn of(wrk: &Process) -> anyhow::Result<Self> {
        let output = wrk.output();
        let line = output.lines().next_back().unwrap_or_default();
        let answers: Self =
            serde_json::from_str(line).with_context(|| format!("wrk said {output}"))?;
        ensure!(answers.failed == 0, "not all requests succeeded: {line}");
        Ok(answers)
    }
}
