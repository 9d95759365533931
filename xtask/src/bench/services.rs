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
    process::{Process, Signal},
    redis::RedisServer,
};

use super::{
    Bench,
    data::Data,
    endpoint::{CREDENTIALS, Endpoint, Requests},
    postgres::Postgres,
    processes::{Processes, Scope, children, end_of_log},
    report::{Run, WAL, megabytes, number},
};

/// How long a process may take to end.
pub(super) const STOP: Duration = Duration::from_secs(30);

/// What the fetcher is to fetch, and how many writers take it.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) data: &'a Data,
    /// What stands before the keys: the same files under another prefix are other objects.
    pub(super) prefix: &'a str,
    pub(super) writers: usize,
}

/// Real servers, and a database that the services can use.
pub(super) struct Servers<'a> {
    bench: &'a Bench<'a>,
    pub(super) postgres: Postgres,
    nats: NatsServer,
    pub(super) redis: RedisServer,
}

/// Does jobs one after the other on fresh servers; measures the last of them.
pub(super) fn load(bench: &Bench, jobs: &[Job]) -> anyhow::Result<Run> {
    let servers = Servers::start(bench)?;
    let (last, before) = jobs.split_last().context("no job")?;
    for job in before {
        servers.run(job)?;
        servers.postgres.vacuum()?;
    }
    servers.run(last)
}

impl<'a> Servers<'a> {
    pub(super) fn start(bench: &'a Bench<'a>) -> anyhow::Result<Self> {
        let servers = Self {
            bench,
            postgres: Postgres::start()?,
            nats: NatsServer::start()?,
            redis: RedisServer::start()?,
        };
        servers.migrate()?;
        Ok(servers)
    }

    /// Does a job, from the start of the services until all is committed; then they end.
    pub(super) fn run(&self, job: &Job) -> anyhow::Result<Run> {
        let logs = tempfile::tempdir()?;
        let (binaries, files) = (self.bench.binaries()?, &job.data.directory);
        let endpoint = Endpoint::start(binaries, files, job.prefix, &logs.path().join("s3"))?;
        self.postgres.settle()?;
        let wal = self.postgres.wal()?;
        let mut processes = self.watched()?;
        processes.watch("s3-files", endpoint.pid(), Scope::Alone)?;

        let begin = Instant::now();
        let mut writers = Vec::new();
        for number in 1..=job.writers {
            let log = logs.path().join(format!("writer-{number}"));
            let writer = Process::start(self.command("jetline-writer")?, &log)?;
            processes.watch_new("jetline-writer", writer.id());
            writers.push(writer);
        }
        self.fetch(&endpoint, logs.path(), &mut processes)
            .map_err(|error| {
                let logs: Vec<_> = writers.iter().map(end_of_log).collect();
                anyhow!("{error:#}\n{}", logs.join("\n"))
            })?;
        let time = begin.elapsed();

        // Measured to their end: what they still do after the last commit is part of the work.
        for writer in &mut writers {
            writer.signal(Signal::TERM);
            processes.until_done("a writer", writer)?;
        }
        self.postgres.check_products(job.data.ids)?;
        let Requests { lists, gets } = endpoint.end()?;
        let figures = [
            (WAL, megabytes(self.postgres.wal()? - wal)),
            ("lists", number(lists)),
            ("GETs", number(gets)),
        ];
        Ok(Run {
            time,
            work: Some(job.data.lines),
            figures: figures.into(),
            processes: processes.usage(),
        })
    }

    fn fetch(
        &self,
        endpoint: &Endpoint,
        logs: &Path,
        processes: &mut Processes,
    ) -> anyhow::Result<()> {
        let mut command = self.command("jetline-fetcher")?;
        command
            .env("SOURCE", endpoint.source())
            .env("AWS_ENDPOINT_URL", endpoint.url());
        let mut fetcher = Process::start(command, &logs.join("fetcher"))?;
        processes.watch_new("jetline-fetcher", fetcher.id());
        processes.until_done("the fetcher", &mut fetcher)
    }

    /// The servers, watched from here on.
    fn watched(&self) -> anyhow::Result<Processes> {
        let mut processes = Processes::new(&self.bench.interrupt);
        processes.watch("postgres", self.postgres.pid()?, Scope::WithChildren)?;
        processes.watch("nats-server", self.nats.pid(), Scope::Alone)?;
        processes.watch("redis-server", child("redis-server")?, Scope::Alone)?;
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

    /// A service with its settings: every one that any of them needs, in one place.
    pub(super) fn command(&self, binary: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.bench.binaries()?.path(binary)?);
        command
            .env("NATS_URL", self.nats.url().to_string())
            .env("REDIS_URL", self.redis.url().to_string())
            .env("DATABASE_URL", self.postgres.url())
            .env("AWS_REGION", "us-east-1")
            .envs(CREDENTIALS);
        Ok(command)
    }
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
