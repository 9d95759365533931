//! `read`: records by id through the API, asked by wrk: connections that are kept, a request on each at a time. pgbench selects
//! the same rows from PostgreSQL itself.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use anyhow::Context;
use jetline_testkit::{
    process::{Process, Signal, program},
    usage::Scope,
};
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_util::sync::CancellationToken;

use super::{
    Bench, case,
    cases::job,
    count,
    data::Data,
    freshness::oldest_answer,
    report::{Outcome, Run, cores, percentiles},
    services::Servers,
    wrk::wrk,
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
    let data = Data::get(bench.arguments.size)?;
    let servers = Servers::start(bench)?;
    servers.run(&job(bench, &data, "files"))?;
    servers.postgres.vacuum()?;
    servers.postgres.checkpoint()?;
    let mut api = Api::start(&servers)?;
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
    let outcome = bench.measure(what, cases.collect())?;
    api.process.stop(Signal::TERM)?;
    Ok(outcome)
}

/// The running API.
struct Api<'a> {
    servers: &'a Servers<'a>,
    process: Process,
    address: SocketAddr,
    // After the process, which writes to it.
    _folder: tempfile::TempDir,
}

impl<'a> Api<'a> {
    fn start(servers: &'a Servers) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let installation = servers.installation(folder.path());
        let api = installation.serve("jetline-api", "/readyz");
        let (process, address) = Runtime::new()?.block_on(api)?;
        Ok(Self { servers, process, address, _folder: folder })
    }

    /// Ids from 1 on are asked for at random.
    fn read(&self, clients: usize, ids: u64) -> anyhow::Result<Run> {
        let mut processes = self.servers.watch()?;
        processes.watch("jetline-api", self.process.id(), Scope::Alone)?;
        let arguments = [ids.to_string()];
        wrk(self.servers, &mut processes, self.address, clients, "read.lua", &arguments)
    }

    /// Rows from 1 on are selected at random.
    fn pgbench(&self, clients: usize, ids: u64) -> anyhow::Result<Run> {
        let mut processes = self.servers.watch()?;
        let folder = tempfile::tempdir()?;
        let script = folder.path().join("select.sql");
        fs::write(&script, format!("\\set id random(1, {ids})\n{SELECT}\n"))?;
        let seconds = self.servers.bench.arguments.seconds;
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
        let start = || Process::start(command, &folder.path().join("pgbench"));
        let (_, pgbench) = processes.time("pgbench", Scope::Alone, start)?;
        let output = pgbench.output();
        let selected = output.lines().find_map(|line| line.strip_prefix(SELECTED));
        let selected = selected.with_context(|| format!("pgbench said {output}"))?;
        let [p50, p99] = percentiles(latencies(folder.path())?)?;
        let figures = [("p50, ms", p50), ("p99, ms", p99)];
        let time = Duration::from_secs(seconds.into());
        Ok(processes.run(time, Some(selected.trim().parse()?), figures))
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
        let oldest = runtime.block_on(oldest)??;
        let mut run = run?;
        run.figures.insert("oldest, ms", oldest.as_secs_f64() * 1000.0);
        Ok(run)
    }
}

/// The latencies in pgbench's logs, in milliseconds.
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
    Ok(latencies)
}
