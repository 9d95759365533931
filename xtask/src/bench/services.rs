//! The services on real servers: started, fed, measured, ended.

use std::{fs, os::unix::fs::symlink, path::Path, time::Instant};

use anyhow::Context;
use jetline_testkit::{
    installation::Installation,
    nats::NatsServer,
    process::{Process, Signal, free_port},
    redis::RedisServer,
    usage::Scope,
};

use super::{
    Bench,
    data::Data,
    postgres::Postgres,
    processes::Processes,
    report::{Run, megabytes, number},
};

/// What the fetcher is to fetch, and how many writers take it.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) data: &'a Data,
    /// The prefix of the keys: the same files under another prefix are other objects.
    pub(super) prefix: &'a str,
    pub(super) writers: usize,
    pub(super) dataset: &'a str,
    /// Another declaration of the dataset than the one that is compiled in.
    pub(super) declaration: Option<&'a str>,
}

/// Real servers, and a database that the services can use.
pub(super) struct Servers<'a> {
    pub(super) bench: &'a Bench<'a>,
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
            postgres: Postgres::start(bench.arguments.flush_delay)?,
            nats: NatsServer::start()?,
            redis: RedisServer::start()?,
        };
        let folder = tempfile::tempdir()?;
        servers.installation(folder.path()).start("jetline-migrate", &[])?.ended()?;
        Ok(servers)
    }

    /// Watches PostgreSQL, with the processes of its connections.
    pub(super) fn watch(&self) -> anyhow::Result<Processes> {
        let mut processes = Processes::new(&self.bench.interrupt);
        processes.watch("postgres", self.postgres.pid()?, Scope::WithChildren)?;
        Ok(processes)
    }

    /// Declares a dataset.
    pub(super) fn declare(&self, dataset: &str, declaration: &str) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join(format!("{dataset}.toml"));
        fs::write(&file, declaration)?;
        let flags = ["--datasets", &file.display().to_string()];
        self.installation(folder.path()).start("jetline-migrate", &flags)?.ended()
    }

    /// Does a job, from the start of the services until all is committed; then they end.
    pub(super) fn run(&self, job: &Job) -> anyhow::Result<Run> {
        if let Some(declaration) = job.declaration {
            self.declare(job.dataset, declaration)?;
        }
        let logs = tempfile::tempdir()?;
        let mut installation = self.installation(logs.path());
        let mut s3 = serve(&mut installation, job)?;
        self.postgres.checkpoint()?;
        let wal = self.postgres.wal()?;
        let mut processes = self.watch()?;
        processes.watch("nats-server", self.nats.pid(), Scope::Alone)?;
        processes.watch("redis-server", self.redis.pid(), Scope::Alone)?;
        processes.watch("s3-files", s3.id(), Scope::Alone)?;

        let begin = Instant::now();
        let mut writers = Vec::new();
        for _ in 0..job.writers {
            let writer = installation.start("jetline-writer", &[])?;
            processes.watch("jetline-writer", writer.id(), Scope::Alone)?;
            writers.push(writer);
        }
        let mut fetcher = installation.start("jetline-fetcher", &[])?;
        processes.watch("jetline-fetcher", fetcher.id(), Scope::Alone)?;
        processes.until_done("the fetcher", &mut fetcher).with_context(|| {
            writers.iter().map(Process::end_of_log).collect::<Vec<_>>().join("\n")
        })?;
        let time = begin.elapsed();

        // Measured to their end: what they still do after the last commit is part of the work.
        for writer in &mut writers {
            writer.signal(Signal::TERM);
            processes.until_done("a writer", writer)?;
        }
        self.postgres.check_rows(job.dataset, job.data.ids)?;
        s3.stop(Signal::INT)?;
        let log = s3.output();
        let [lists, gets] = requests(&log)
            .with_context(|| format!("s3-files does not say what it served: {log}"))?;
        let figures = [
            ("WAL, MB", megabytes(self.postgres.wal()? - wal)),
            ("lists", number(lists)),
            ("GETs", number(gets)),
        ];
        // Without a writer there was nothing to do.
        let work = (job.writers > 0).then_some(job.data.lines);
        Ok(processes.run(time, work, figures))
    }

    /// Delivers `count` of the changes that wait to an endpoint that answers at once.
    pub(super) fn deliver(&self, count: u64) -> anyhow::Result<Run> {
        let logs = tempfile::tempdir()?;
        let mut installation = self.installation(logs.path());
        let port = free_port()?;
        let (address, calls) = (format!("127.0.0.1:{port}"), count.to_string());
        let flags = ["--count-only", "--listen", &address, "--calls", &calls];
        let mut endpoint = installation.start("test-crm", &flags)?;
        endpoint.wait_for_port(port)?;
        installation.set("CRM_URL", &format!("http://{address}/"));
        installation.set("DELIVER_PRIVATE", "true");
        self.postgres.checkpoint()?;
        let mut processes = self.watch()?;
        processes.watch("test-crm", endpoint.id(), Scope::Alone)?;
        let begin = Instant::now();
        let mut courier = installation.start("jetline-courier", &[])?;
        processes.watch("jetline-courier", courier.id(), Scope::Alone)?;
        processes
            .until_done("the endpoint", &mut endpoint)
            .with_context(|| courier.end_of_log())?;
        let time = begin.elapsed();
        courier.signal(Signal::TERM);
        processes.until_done("the courier", &mut courier)?;
        Ok(processes.run(time, Some(count), []))
    }

    /// The services with their settings: every one that any of them needs, in one place.
    pub(super) fn installation(&self, folder: &Path) -> Installation {
        self.bench.installation(
            folder,
            &[
                ("NATS_URL", self.nats.url().as_str()),
                ("REDIS_URL", self.redis.url().as_str()),
                ("DATABASE_URL", self.postgres.url()),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "bench"),
                ("AWS_SECRET_ACCESS_KEY", "bench-secret"),
            ],
        )
    }
}

/// Serves the files of a job over S3, with its prefix to their keys, to the fetchers of an installation.
fn serve(installation: &mut Installation, job: &Job) -> anyhow::Result<Process> {
    let Job { data, prefix, dataset, .. } = *job;
    let bucket = installation.folder().join("bucket");
    fs::create_dir(&bucket)?;
    symlink(&data.directory, bucket.join(prefix))?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let flags = ["--bucket", "bench", "--listen", &address, "bucket"];
    let mut process = installation.start("s3-files", &flags)?;
    process.wait_for_port(port)?;
    installation.set("SOURCE", &format!("{dataset}=s3://bench/{prefix}/"));
    installation.set("AWS_ENDPOINT_URL", &format!("http://{address}"));
    Ok(process)
}

/// How many LIST and GET requests there were, from its last line: `served 1 lists and 68 gets`.
fn requests(log: &str) -> Option<[u64; 2]> {
    let line = log.lines().next_back()?.strip_prefix("served ")?;
    let (lists, gets) = line.strip_suffix(" gets")?.split_once(" lists and ")?;
    Some([lists.parse().ok()?, gets.parse().ok()?])
}
