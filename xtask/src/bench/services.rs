//! The services on real servers: started, fed, measured, ended.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use jetline_testkit::{
    nats::NatsServer,
    process::{Process, Signal, free_port},
    redis::RedisServer,
};

use super::{
    build::Binaries,
    data::Data,
    postgres::Postgres,
    processes::{Processes, Scope, children},
    report::Run,
};
use crate::signals::Interrupt;

/// How long a process may take to end.
pub(super) const STOP: Duration = Duration::from_secs(30);

const BUCKET: &str = "bench";

/// What the S3 endpoint asks for and the services bring.
const CREDENTIALS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "bench"),
    ("AWS_SECRET_ACCESS_KEY", "bench-secret"),
];

/// Loads the data with one fetcher and some writers into fresh servers.
pub(super) fn load(
    data: &Data,
    binaries: &Binaries,
    writers: usize,
    interrupt: &Interrupt,
) -> anyhow::Result<Run> {
    let servers = Servers::start(data, binaries)?;
    servers.migrate()?;
    servers.postgres.settle()?;
    let mut processes = servers.watched(interrupt)?;

    let begin = Instant::now();
    let mut running = Vec::new();
    for number in 1..=writers {
        let writer = servers.service("jetline-writer", &format!("writer-{number}"))?;
        processes.watch_new("jetline-writer", writer.id());
        running.push(writer);
    }
    let mut fetcher = servers.service("jetline-fetcher", "fetcher")?;
    processes.watch_new("jetline-fetcher", fetcher.id());
    processes.until_ended(fetcher.id()).map_err(|error| {
        let logs: Vec<_> = running.iter().chain([&fetcher]).map(end_of_log).collect();
        anyhow!("{error}\n{}", logs.join("\n"))
    })?;
    let time = begin.elapsed();

    let status = fetcher.wait(STOP)?;
    ensure!(
        status.success(),
        "the fetcher ended with {status}: {}",
        fetcher.output()
    );
    for writer in &mut running {
        end(writer, &mut processes)?;
    }
    let rows = servers.postgres.products()?;
    ensure!(rows == data.ids, "{rows} rows for {} ids", data.ids);
    Ok(Run {
        time,
        processes: processes.usage(),
    })
}

/// The last lines that it wrote.
fn end_of_log(process: &Process) -> String {
    let log = process.output();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

/// Measured to its end: what it still does after the last commit is part of the work.
fn end(writer: &mut Process, processes: &mut Processes) -> anyhow::Result<()> {
    writer.signal(Signal::TERM);
    processes.until_ended(writer.id())?;
    let status = writer.wait(STOP)?;
    ensure!(
        status.success(),
        "a writer ended with {status}: {}",
        writer.output()
    );
    Ok(())
}

/// Real servers, and where the services find them.
struct Servers<'a> {
    binaries: &'a Binaries,
    postgres: Postgres,
    nats: NatsServer,
    redis: RedisServer,
    s3: Process,
    s3_port: u16,
    logs: tempfile::TempDir,
}

impl<'a> Servers<'a> {
    fn start(data: &Data, binaries: &'a Binaries) -> anyhow::Result<Self> {
        let logs = tempfile::tempdir()?;
        let s3_port = free_port()?;
        Ok(Self {
            postgres: Postgres::start()?,
            nats: NatsServer::start()?,
            redis: RedisServer::start()?,
            s3: s3(binaries, &data.directory, s3_port, logs.path())?,
            s3_port,
            binaries,
            logs,
        })
    }

    fn watched(&self, interrupt: &Interrupt) -> anyhow::Result<Processes> {
        let mut processes = Processes::new(interrupt);
        processes.watch("postgres", self.postgres.pid()?, Scope::WithChildren)?;
        for name in ["nats-server", "redis-server"] {
            processes.watch(name, child(name)?, Scope::Alone)?;
        }
        processes.watch("s3-files", self.s3.id(), Scope::Alone)?;
        Ok(processes)
    }

    fn migrate(&self) -> anyhow::Result<()> {
        let output = self.command("jetline-migrate")?.output()?;
        ensure!(
            output.status.success(),
            "jetline-migrate ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn service(&self, binary: &str, log: &str) -> anyhow::Result<Process> {
        Process::start(self.command(binary)?, &self.logs.path().join(log))
    }

    /// A service with its settings: every one that any of them needs, in one place.
    fn command(&self, binary: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.binaries.path(binary)?);
        command
            .env("SOURCE", format!("s3://{BUCKET}/"))
            .env("NATS_URL", self.nats.url().to_string())
            .env("REDIS_URL", self.redis.url().to_string())
            .env("DATABASE_URL", self.postgres.url())
            .env(
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.s3_port),
            )
            .env("AWS_REGION", "us-east-1")
            .envs(CREDENTIALS);
        Ok(command)
    }
}

fn s3(binaries: &Binaries, directory: &Path, port: u16, logs: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(binaries.path("s3-files")?);
    command
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--bucket", BUCKET])
        .arg(directory)
        .envs(CREDENTIALS);
    let mut process = Process::start(command, &logs.join("s3"))?;
    process.wait_for_port(port)?;
    Ok(process)
}

/// The process id of a server that was started from here.
fn child(name: &str) -> anyhow::Result<u32> {
    let is_it = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    children(std::process::id())
        .into_iter()
        .find(is_it)
        .with_context(|| format!("{name} does not run"))
}
