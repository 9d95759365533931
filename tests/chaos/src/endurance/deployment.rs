//! The services as processes, with private servers.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use anyhow::ensure;
use jetline_oracle::MAX_LINE;
use jetline_testkit::{
    installation::Installation,
    nats::{NatsOptions, NatsServer},
    postgres::{PostgresServer, TemporaryDatabase},
    process::{Process, Signal},
    redis::RedisServer,
    s3::S3Server,
    usage::{Scope, Usage, has_ended},
};
use tokio::task::block_in_place;

use super::{ledger::Ledger, sample::Sample, servers};
use crate::campaign::Part;

/// The only bucket.
pub(super) const BUCKET: &str = "shop";

/// A running installation, stopped when it is dropped.
pub(super) struct Deployment {
    // Declared before the servers that they use.
    programs: Vec<(String, Process)>,
    /// The address of the API.
    pub(super) api: SocketAddr,
    pub(super) ledger: Ledger,
    pub(super) s3: S3Server,
    nats: NatsServer,
    redis: RedisServer,
    postgres: PostgresServer,
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
        let database = TemporaryDatabase::create_on(&postgres).await.url();
        // The defaults, except for small chunks, so that every object has several, and the line length of the oracle.
        let settings = [
            ("SOURCE", format!("s3://{BUCKET}")),
            ("DATABASE_URL", database.clone()),
            ("NATS_URL", nats.url().to_string()),
            ("REDIS_URL", redis.url().to_string()),
            ("WATCH", "2s".to_owned()),
            ("CHUNK_BYTES", "16KiB".to_owned()),
            ("MAX_LINE_BYTES", MAX_LINE.to_string()),
        ];
        let settings = settings.into_iter().chain(s3.settings());
        let installation = Installation::new(binaries, logs, settings);
        let mut programs = Vec::new();
        for number in 1..=writers {
            let writer = installation.serve("jetline-writer", "/readyz");
            programs.push((format!("writer-{number}"), writer.await?.0));
        }
        let fetcher = installation.serve("jetline-fetcher", "/readyz");
        programs.push(("fetcher".to_owned(), fetcher.await?.0));
        let (process, api) = installation.serve("jetline-api", "/readyz").await?;
        programs.push(("api".to_owned(), process));
        let ledger = Ledger::connect(&database).await?;
        Ok(Self { programs, api, ledger, s3, nats, redis, postgres })
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
        let mut processes = BTreeMap::new();
        for (name, program) in &self.programs {
            ensure!(!has_ended(program.id()), "{name} has ended: {}", program.end_of_log());
            processes.insert(name.clone(), program.id());
        }
        let servers = [("nats-server", self.nats.pid()), ("redis-server", self.redis.pid())];
        let servers = servers.into_iter().filter(|(_, pid)| !has_ended(*pid));
        processes.extend(servers.map(|(name, pid)| (name.to_owned(), pid)));
        let usage = |(name, pid)| Some((name, Usage::of(pid, Scope::Alone)?));
        let mut processes: BTreeMap<_, _> = processes.into_iter().filter_map(usage).collect();
        let postgres = self.postgres.pid().and_then(|pid| Usage::of(pid, Scope::WithChildren));
        processes.extend(postgres.map(|usage| ("postgres".to_owned(), usage)));
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
        programs.map(|(name, process)| (name.clone(), process.id())).collect()
    }

    /// Stops the programs with SIGTERM; each must end successfully.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        for (_, program) in &self.programs {
            program.signal(Signal::TERM);
        }
        block_in_place(|| self.programs.iter_mut().try_for_each(|(_, program)| program.ended()))
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
