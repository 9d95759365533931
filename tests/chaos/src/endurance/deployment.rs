//! The services as processes, with private servers.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use jetline_oracle::MAX_LINE;
use jetline_testkit::{
    nats::{NatsOptions, NatsServer},
    postgres::{PostgresServer, TemporaryDatabase},
    process::{Process, Signal, free_port},
    redis::RedisServer,
    s3::S3Server,
};
use serde::Serialize;
use tokio::task::block_in_place;

use super::{
    http,
    ledger::Ledger,
    procfs::{self, ProcessSample},
    sample::Sample,
    servers,
};

/// The only bucket.
pub(super) const BUCKET: &str = "shop";

/// The timeout of starting and stopping a program.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The interval of polling a starting program: there is no event to wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How many lines of a program's log are reported if it ends too early.
const LOG_LINES: usize = 10;

/// A server that can be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Postgres,
    Nats,
    Redis,
    S3,
}

/// A running installation, stopped when it is dropped.
pub(super) struct Deployment {
    // Declared before the servers that they use.
    programs: Vec<Program>,
    /// The address of the API.
    pub(super) api: SocketAddr,
    pub(super) ledger: Ledger,
    pub(super) s3: S3Server,
    nats: NatsServer,
    redis: RedisServer,
    postgres: PostgresServer,
}

struct Program {
    name: String,
    process: Process,
}

impl Deployment {
    /// Starts the servers, and the programs of a directory: a fetcher, some writers and an API. Their logs go into a
    /// separate directory.
    pub(super) async fn start(
        binaries: &Path,
        logs: &Path,
        writers: usize,
    ) -> anyhow::Result<Self> {
        let (postgres, nats, redis, s3) = block_in_place(start_servers)?;
        s3.create_bucket(BUCKET);
        let database = TemporaryDatabase::create_on(&postgres).await;
        let installation =
            Installation { binaries, logs, settings: settings(&database, &nats, &redis, &s3) };
        let mut deployment = Self {
            programs: Vec::new(),
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
            ledger: Ledger::connect(&database.url()).await?,
            s3,
            nats,
            redis,
            postgres,
        };
        for number in 1..=writers {
            let (name, address) = (format!("writer-{number}"), own_address()?);
            let writer = installation.start("jetline-writer", &name, "OBSERVE_LISTEN", address);
            deployment.programs.push(writer.await?);
        }
        let fetcher =
            installation.start("jetline-fetcher", "fetcher", "OBSERVE_LISTEN", own_address()?);
        deployment.programs.push(fetcher.await?);
        let api = installation.start("jetline-api", "api", "LISTEN", deployment.api);
        deployment.programs.push(api.await?);
        Ok(deployment)
    }

    /// Stops a server like a crash.
    pub(super) fn stop_server(&mut self, part: Part) -> anyhow::Result<()> {
        block_in_place(|| {
            match part {
                Part::Postgres => self.postgres.stop_immediate()?,
                Part::Nats => self.nats.stop(),
                Part::Redis => self.redis.stop(),
                Part::S3 => self.s3.stop(),
            }
            Ok(())
        })
    }

    /// Starts it again with its data; Redis has none.
    pub(super) fn start_server(&mut self, part: Part) -> anyhow::Result<()> {
        block_in_place(|| match part {
            Part::Postgres => self.postgres.start_again(),
            Part::Nats => self.nats.restart(),
            Part::Redis => self.redis.restart(),
            Part::S3 => self.s3.start_again(),
        })
    }

    /// Takes a sample. An error means that a program has ended.
    pub(super) async fn sample(&self) -> anyhow::Result<Sample> {
        let mut processes = self.running()?;
        let postgres = self.postgres.pid().and_then(procfs::family);
        processes.extend(postgres.map(|sample| ("postgres".to_owned(), sample)));
        for (name, pid) in [("nats-server", self.nats.pid()), ("redis-server", self.redis.pid())] {
            processes.extend(procfs::process(pid).map(|sample| (name.to_owned(), sample)));
        }
        let (ledger, nats, redis) = tokio::join!(
            self.ledger.sample(),
            servers::nats(&self.nats),
            servers::redis(&self.redis)
        );
        Ok(Sample { processes, ledger: ledger.ok(), nats: nats.ok(), redis: redis.ok() })
    }

    /// The names and process ids of the programs, which do not change.
    pub(super) fn programs(&self) -> BTreeMap<String, u32> {
        let programs = self.programs.iter();
        programs.map(|program| (program.name.clone(), program.process.id())).collect()
    }

    /// Stops the programs with SIGTERM; each must end successfully.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        for program in &self.programs {
            program.process.signal(Signal::TERM);
        }
        for program in &mut self.programs {
            let status = block_in_place(|| program.process.wait(TIMEOUT))?;
            ensure!(
                status.success(),
                "{} ended with {status}: {}",
                program.name,
                program.end_of_log()
            );
        }
        Ok(())
    }

    fn running(&self) -> anyhow::Result<BTreeMap<String, ProcessSample>> {
        let sample = |program: &Program| {
            let sample = procfs::process(program.process.id());
            let sample = sample
                .with_context(|| format!("{} has ended: {}", program.name, program.end_of_log()))?;
            Ok((program.name.clone(), sample))
        };
        self.programs.iter().map(sample).collect()
    }
}

impl Program {
    fn end_of_log(&self) -> String {
        let log = self.process.output();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

fn start_servers() -> anyhow::Result<(PostgresServer, NatsServer, RedisServer, S3Server)> {
    let nats = NatsOptions { monitoring: true, ..NatsOptions::default() };
    Ok((
        PostgresServer::start()?,
        NatsServer::start_with(nats)?,
        RedisServer::start()?,
        S3Server::start()?,
    ))
}

/// The defaults, except for small chunks, so that every object has several, and the line length of the oracle.
fn settings(
    database: &TemporaryDatabase,
    nats: &NatsServer,
    redis: &RedisServer,
    s3: &S3Server,
) -> Vec<(&'static str, String)> {
    vec![
        ("SOURCE", format!("s3://{BUCKET}")),
        ("AWS_ENDPOINT_URL", s3.endpoint()),
        ("AWS_ACCESS_KEY_ID", s3.access_key().to_owned()),
        ("AWS_SECRET_ACCESS_KEY", s3.secret_key().to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("DATABASE_URL", database.url()),
        ("NATS_URL", nats.url().to_string()),
        ("REDIS_URL", redis.url().to_string()),
        ("WATCH", "2s".to_owned()),
        ("CHUNK_BYTES", "16KiB".to_owned()),
        ("MAX_LINE_BYTES", MAX_LINE.to_string()),
    ]
}

fn own_address() -> anyhow::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

/// The environment of programs.
struct Installation<'a> {
    binaries: &'a Path,
    logs: &'a Path,
    settings: Vec<(&'static str, String)>,
}

impl Installation<'_> {
    /// Starts a program that serves on the address that a variable names, and waits until it is ready.
    async fn start(
        &self,
        binary: &str,
        name: &str,
        variable: &str,
        address: SocketAddr,
    ) -> anyhow::Result<Program> {
        let binary: PathBuf = self.binaries.join(binary);
        ensure!(
            binary.is_file(),
            "{} is missing: build it with `cargo build --workspace --bins`, or set --binaries",
            binary.display()
        );
        let mut command = Command::new(binary.canonicalize()?);
        // Without the variables of this process.
        command
            .env_clear()
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .env(variable, address.to_string())
            .current_dir(self.logs);
        let process = Process::start(command, &self.logs.join(format!("{name}.log")))?;
        let program = Program { name: name.to_owned(), process };
        let begin = Instant::now();
        while !is_ready(address).await {
            if begin.elapsed() > TIMEOUT {
                bail!("{name} is not ready: {}", program.end_of_log());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(program)
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    let answer = http::get(address, "/readyz").await;
    answer.is_ok_and(|answer| answer.status == 200)
}
