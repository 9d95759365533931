//! The services of one installation, as processes, and their servers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use chrono::{DateTime, Utc};
use jetline_oracle::MAX_LINE;
use jetline_testkit::{
    nats, postgres::TemporaryDatabase, process::Process, process::free_port, redis, s3::S3Server,
};
use tempfile::TempDir;
use url::Url;

use crate::{
    http,
    ledger::Ledger,
    programs::program,
    wait::{TIMEOUT, until},
};

/// The bucket of every S3 server here: each test has a separate server.
pub(crate) const BUCKET: &str = "shop";

/// An S3 server with a bucket, a separate database, stream and key prefix, and their settings.
pub(crate) struct Deployment {
    pub(crate) s3: S3Server,
    pub(crate) ledger: Ledger,
    pub(crate) stream: String,
    settings: Vec<(&'static str, String)>,
    processes: AtomicUsize,
    folder: TempDir,
    _database: TemporaryDatabase,
}

impl Deployment {
    /// With the servers that all tests share.
    pub(crate) async fn shared(name: &str) -> Self {
        let database = TemporaryDatabase::create(name).await;
        Self::of(name, &nats::shared(), &redis::shared(), database).await
    }

    /// With servers that may be private.
    pub(crate) async fn of(
        name: &str,
        nats: &Url,
        redis: &Url,
        database: TemporaryDatabase,
    ) -> Self {
        let s3 = S3Server::start().unwrap();
        Self::with(name, nats, redis, database, s3).await
    }

    /// With servers that may be private, including S3.
    pub(crate) async fn with(
        name: &str,
        nats: &Url,
        redis: &Url,
        database: TemporaryDatabase,
        s3: S3Server,
    ) -> Self {
        s3.create_bucket(BUCKET);
        let stream = nats::unique_stream(name);
        let settings = vec![
            ("SOURCE", format!("s3://{BUCKET}")),
            ("AWS_ENDPOINT_URL", s3.endpoint()),
            ("AWS_ACCESS_KEY_ID", s3.access_key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", s3.secret_key().to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("DATABASE_URL", database.url()),
            ("NATS_URL", nats.to_string()),
            ("NATS_STREAM", stream.clone()),
            ("NATS_MAX_BYTES", (64 << 20).to_string()),
            ("NATS_ACK_WAIT", "2s".to_owned()),
            ("REDIS_URL", redis.to_string()),
            ("REDIS_PREFIX", redis::unique_prefix(name)),
            ("CHUNK_BYTES", "1KiB".to_owned()),
            ("MAX_LINE_BYTES", MAX_LINE.to_string()),
            ("LEASE", "2s".to_owned()),
            ("RECONCILE_AFTER", "1s".to_owned()),
            ("PROGRESS_EVERY", "300ms".to_owned()),
            ("WRITER_CHUNKS", "2".to_owned()),
            ("WRITER_WORKERS", "2".to_owned()),
        ];
        Self {
            s3,
            ledger: Ledger::connect(&database.url()).await,
            stream,
            settings,
            processes: AtomicUsize::new(0),
            folder: tempfile::tempdir().unwrap(),
            _database: database,
        }
    }

    /// Sets a setting; returns its previous value.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) -> String {
        let before = self.unset(name);
        self.settings.push((name, value.to_owned()));
        before
    }

    /// Removes a setting; returns its previous value.
    pub(crate) fn unset(&mut self, name: &str) -> String {
        let set = self.settings.iter().position(|(set, _)| *set == name);
        set.map(|set| self.settings.remove(set).1).unwrap_or_default()
    }

    /// Puts an object with a modification time in seconds after the first.
    pub(crate) fn put(&self, key: &str, second: i64, content: &[u8]) {
        self.s3.put(BUCKET, key, content.to_vec());
        let time = DateTime::<Utc>::from_timestamp(1_700_000_000 + second, 0).unwrap();
        self.s3.set_last_modified(BUCKET, key, time);
    }

    /// Starts a program.
    pub(crate) fn start(&self, name: &str) -> Process {
        self.start_with(name, &[])
    }

    /// Starts a program with flags, which override the settings.
    pub(crate) fn start_with(&self, name: &str, flags: &[&str]) -> Process {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        let mut command = self.command(name);
        command.args(flags);
        let log = self.folder.path().join(format!("{name}-{number}.log"));
        Process::start(command, &log).unwrap()
    }

    /// A program with the settings.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = program(name);
        command.current_dir(self.folder.path());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts some writers.
    pub(crate) fn writers(&self, count: usize) -> Vec<Process> {
        (0..count).map(|_| self.start("jetline-writer")).collect()
    }

    /// Starts a program that serves on the port of a flag, and waits until it responds.
    pub(crate) async fn serve(&self, name: &str, flag: &str) -> (Process, SocketAddr) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let process = self.start_with(name, &[flag, &address.to_string()]);
        until("a service responds", async || {
            http::try_get(address, "/healthz", &[]).filter(|answer| answer.status == 200)
        })
        .await;
        (process, address)
    }

    /// Runs the fetcher to its end; returns whether it was complete, and its output.
    pub(crate) fn fetch(&self) -> (bool, String) {
        finish(self.start("jetline-fetcher"))
    }

    /// Loads with a fetcher and a writer until everything is loaded.
    pub(crate) fn load(&self) -> (bool, String) {
        let _writers = self.writers(1);
        self.fetch()
    }

    /// Waits until at least this share of the lines, in percent, is committed.
    pub(crate) async fn reached(&self, percent: i64, of: i64) {
        until("a part of the lines is committed", async || {
            (self.ledger.lines().await * 100 >= of * percent).then_some(())
        })
        .await;
    }
}

/// Waits until a program ends by itself; returns whether it succeeded, and its output.
pub(crate) fn finish(mut process: Process) -> (bool, String) {
    let status = process.wait(TIMEOUT).unwrap();
    (status.success(), process.output())
}
