//! `read`: records by id through the API, beside pgbench reading the same rows.

use std::{path::Path, time::Duration};

use anyhow::ensure;
use jetline_testkit::process::{Process, Signal, free_port};

use super::{
    Bench,
    freshness::Freshness,
    pgbench, postgres,
    processes::{Processes, Scope},
    report::{Report, Run, number},
    services::{Job, Servers},
    tables::short,
    turns::{Side, in_turns},
    wrk,
};

const CLIENTS: [usize; 3] = [1, 16, 64];

/// Ids that are asked for again and again.
const HOT: u64 = 1000;

/// What a load generator is to do.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Connections, each with one request at a time.
    pub(super) clients: usize,
    /// Ids from 1 on, at random.
    pub(super) ids: u64,
    pub(super) seconds: u64,
}

/// What came of it.
pub(super) struct Answers {
    pub(super) count: u64,
    pub(super) time: Duration,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    wrk::install()?;
    let data = bench.data()?;
    let servers = Servers::start(bench)?;
    servers.run(&Job {
        data: &data,
        prefix: "files",
        writers: bench.arguments.writers.get(),
    })?;
    servers.postgres.vacuum()?;
    servers.postgres.settle()?;
    let api = Api::start(&servers)?;
    let sides = CLIENTS.into_iter().flat_map(|clients| {
        let load = |ids| Load {
            clients,
            ids,
            seconds: bench.arguments.seconds.get(),
        };
        let (any, hot) = (load(data.ids), load(HOT.min(data.ids)));
        let (api, servers) = (&api, &servers);
        let pgbench = format!("pgbench, {}", count(clients));
        [
            Side::jetline(format!("any id, {}", count(clients)), move || {
                api.read(bench, servers, any)
            })
            .beside(pgbench.clone()),
            Side::yardstick(pgbench, move || by_hand(bench, servers, any)),
            Side::jetline(format!("hot ids, {}", count(clients)), move || {
                api.read_updated(bench, servers, hot)
            }),
        ]
    });
    let cases = in_turns(bench, sides.collect())?;
    api.end()?;
    Ok(Report {
        unit: "request",
        conditions: conditions(bench, data.ids),
        cases,
    })
}

fn count(clients: usize) -> String {
    match clients {
        1 => "1 client".to_owned(),
        _ => format!("{clients} clients"),
    }
}

fn conditions(bench: &Bench, ids: u64) -> Vec<String> {
    vec![
        format!(
            "GET of a record by id, by {} clients, each with one request at a time",
            CLIENTS.map(|clients| clients.to_string()).join(", ")
        ),
        format!(
            "Any id: at random out of {}; hot ids: at random out of {}",
            short(number(ids)),
            short(number(HOT.min(ids)))
        ),
        "Hot ids: their rows are updated meanwhile, one after the other; oldest: how long after a commit a request was \
         sent, at most, that was answered with what the row said before; above 1 s the benchmark fails"
            .to_owned(),
        "Jetline: 1 jetline-api with its defaults, asked by wrk over connections that are kept"
            .to_owned(),
        "pgbench: SELECT of the same rows by primary key, prepared, over TCP".to_owned(),
        postgres::describe(),
        format!(
            "{} s each; the load generators share the cores with what they measure",
            bench.arguments.seconds
        ),
        bench.turns(),
    ]
}

/// The running API.
struct Api {
    process: Process,
    port: u16,
    // After the process, which writes to it.
    _logs: tempfile::TempDir,
}

impl Api {
    fn start(servers: &Servers) -> anyhow::Result<Self> {
        let logs = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = servers.command("jetline-api")?;
        command.env("LISTEN", format!("127.0.0.1:{port}"));
        let mut process = Process::start(command, &logs.path().join("api"))?;
        process.wait_for_port(port)?;
        Ok(Self {
            process,
            port,
            _logs: logs,
        })
    }

    fn read(&self, bench: &Bench, servers: &Servers, load: Load) -> anyhow::Result<Run> {
        let mut processes = Processes::new(&bench.interrupt);
        processes.watch("jetline-api", self.process.id(), Scope::Alone)?;
        let folder = tempfile::tempdir()?;
        let url = format!("http://127.0.0.1:{}", self.port);
        let start = |folder: &Path| wrk::start(&load, &url, folder);
        let output = generate(processes, servers, "wrk", || start(folder.path()))?;
        output.run(wrk::answers)
    }

    /// The same while rows are updated, with the age of the oldest answer.
    fn read_updated(&self, bench: &Bench, servers: &Servers, load: Load) -> anyhow::Result<Run> {
        let freshness = Freshness::watch(servers.postgres.session()?, self.port, load.ids)?;
        let run = self.read(bench, servers, load);
        let oldest = freshness.oldest()?.as_secs_f64();
        let mut run = run?;
        run.figures.insert("oldest, ms", oldest * 1000.0);
        Ok(run)
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(super::services::STOP)?;
        ensure!(status.success(), "the api ended with {status}");
        Ok(())
    }
}

fn by_hand(bench: &Bench, servers: &Servers, load: Load) -> anyhow::Result<Run> {
    let folder = tempfile::tempdir()?;
    let start = || pgbench::start(&load, servers.postgres.url(), folder.path());
    let processes = Processes::new(&bench.interrupt);
    let generated = generate(processes, servers, "pgbench", start)?;
    generated.run(|output| pgbench::answers(output, folder.path()))
}

/// A load generator that has ended.
struct Generated {
    output: String,
    processes: Processes,
}

fn generate(
    mut processes: Processes,
    servers: &Servers,
    name: &str,
    start: impl FnOnce() -> anyhow::Result<Process>,
) -> anyhow::Result<Generated> {
    processes.watch("postgres", servers.postgres.pid()?, Scope::WithChildren)?;
    let mut generator = start()?;
    processes.watch_new(name, generator.id());
    processes.until_done(name, &mut generator)?;
    Ok(Generated {
        output: generator.output(),
        processes,
    })
}

impl Generated {
    fn run(self, answers: impl FnOnce(&str) -> anyhow::Result<Answers>) -> anyhow::Result<Run> {
        let answers = answers(&self.output)?;
        Ok(Run {
            time: answers.time,
            work: Some(answers.count),
            figures: [("p50, ms", answers.p50_ms), ("p99, ms", answers.p99_ms)].into(),
            processes: self.processes.usage(),
        })
    }
}
