//! The services on real servers: started, fed, measured, ended.

use std::{process::Command, time::Instant};

use anyhow::{Context, ensure};
use jetline_testkit::{
    nats::NatsServer,
    process::{Process, Signal},
    redis::RedisServer,
};

use super::{
    Bench,
    data::Data,
    endpoint::Endpoint,
    postgres::Postgres,
    processes::{Processes, Scope, end_of_log},
    report::{Run, megabytes, number},
};

/// What the fetcher is to fetch, and how many writers take it.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) data: &'a Data,
    /// The prefix of the keys: the same files under another prefix are other objects.
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
pub(super) fn load_last(bench: &Bench, jobs: &[Job]) -> anyhow::Result<Run> {
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
        let output = servers.command("jetline-migrate")?.output()?;
        ensure!(
            output.status.success(),
            "jetline-migrate ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(servers)
    }

    /// Does a job, from the start of the services until all is committed; then they end.
    pub(super) fn run(&self, job: &Job) -> anyhow::Result<Run> {
        let logs = tempfile::tempdir()?;
        let s3 = self.command("s3-files")?;
        let endpoint = Endpoint::start(s3, &job.data.directory, job.prefix)?;
        self.postgres.checkpoint()?;
        let wal = self.postgres.wal()?;
        let mut processes = Processes::new(&self.bench.interrupt);
        processes.watch("postgres", self.postgres.pid()?, Scope::WithChildren)?;
        processes.watch("nats-server", self.nats.pid(), Scope::Alone)?;
        processes.watch("redis-server", self.redis.pid(), Scope::Alone)?;
        processes.watch("s3-files", endpoint.process.id(), Scope::Alone)?;

        let begin = Instant::now();
        let mut writers = Vec::new();
        for number in 1..=job.writers {
            let log = logs.path().join(format!("writer-{number}"));
            let writer = Process::start(self.command("jetline-writer")?, &log)?;
            processes.watch("jetline-writer", writer.id(), Scope::Alone)?;
            writers.push(writer);
        }
        let mut command = self.command("jetline-fetcher")?;
        command.envs(endpoint.settings.clone());
        let mut fetcher = Process::start(command, &logs.path().join("fetcher"))?;
        processes.watch("jetline-fetcher", fetcher.id(), Scope::Alone)?;
        processes
            .until_done("the fetcher", &mut fetcher)
            .with_context(|| writers.iter().map(end_of_log).collect::<Vec<_>>().join("\n"))?;
        let time = begin.elapsed();

        // Measured to their end: what they still do after the last commit is part of the work.
        for writer in &mut writers {
            writer.signal(Signal::TERM);
            processes.until_done("a writer", writer)?;
        }
        self.postgres.check_products(job.data.ids)?;
        let [lists, gets] = endpoint.end()?;
        let figures = [
            ("WAL, MB", megabytes(self.postgres.wal()? - wal)),
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

    /// A program with its settings: every one that any of them needs, in one place.
    pub(super) fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(self.bench.program(program)?);
        command
            .env("NATS_URL", self.nats.url().to_string())
            .env("REDIS_URL", self.redis.url().to_string())
            .env("DATABASE_URL", self.postgres.url())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench-secret");
        Ok(command)
    }
}
