//! The services of one installation, as processes, and their servers.

use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
    path::PathBuf,
    process::Command,
    sync::OnceLock,
};

use chrono::{DateTime, Utc};
use jetline_oracle::{MAX_LINE, ledger::Ledger};
use jetline_testkit::{
    installation::Installation,
    nats,
    postgres::TemporaryDatabase,
    process::{Process, Signal},
    programs, redis,
    s3::S3Server,
};
use tempfile::TempDir;
use url::Url;

use crate::wait::{TIMEOUT, until};

/// The bucket of every S3 server here: each test has a separate server.
pub(crate) const BUCKET: &str = "shop";

/// An S3 server with a bucket, a separate database, stream and key prefix, and the services with their settings.
pub(crate) struct Deployment {
    pub(crate) s3: S3Server,
    pub(crate) ledger: Ledger,
    pub(crate) stream: String,
    installation: Installation,
    _folder: TempDir,
    _database: TemporaryDatabase,
}

impl Deref for Deployment {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl DerefMut for Deployment {
    fn deref_mut(&mut self) -> &mut Installation {
        &mut self.installation
    }
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
        let settings = [
            ("SOURCE", format!("s3://{BUCKET}")),
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
        let folder = tempfile::tempdir().unwrap();
        let settings = settings.into_iter().chain(s3.settings());
        Self {
            installation: Installation::new(&directory(), folder.path(), settings),
            s3,
            ledger: Ledger::connect(&database.url()).await.unwrap(),
            stream,
            _folder: folder,
            _database: database,
        }
    }

    pub(crate) fn set_all(
        &mut self,
        settings: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) {
        for (name, value) in settings {
            self.set(name.as_ref(), value.as_ref());
        }
    }

    /// Puts an object with a modification time in seconds after the first.
    pub(crate) fn put(&self, key: &str, second: i64, content: &[u8]) {
        self.s3.put(BUCKET, key, content.to_vec());
        let time = DateTime::<Utc>::from_timestamp(1_700_000_000 + second, 0).unwrap();
        self.s3.set_last_modified(BUCKET, key, time);
    }

    /// Puts objects a second apart.
    pub(crate) fn put_all(&self, contents: &[Vec<u8>]) {
        for (second, content) in (0..).zip(contents) {
            self.put(&format!("{second}.jsonl"), second, content);
        }
    }

    /// Starts a program.
    pub(crate) fn start(&self, name: &str) -> Process {
        self.start_with(name, &[])
    }

    /// Starts a program with flags, which override the settings.
    pub(crate) fn start_with(&self, name: &str, flags: &[&str]) -> Process {
        self.installation.start(name, flags).unwrap()
    }

    /// Starts some writers.
    pub(crate) fn writers(&self, count: usize) -> Vec<Process> {
        (0..count).map(|_| self.start("jetline-writer")).collect()
    }

    /// Starts a program that serves, and waits until it responds.
    pub(crate) async fn serve(&self, name: &str) -> (Process, SocketAddr) {
        self.installation.serve(name, "/healthz").await.unwrap()
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

    /// Waits until a writer is in the middle of a transaction, blocked by a lock of the test.
    pub(crate) async fn blocked(&self) {
        until("a writer waits for a lock", async || {
            (self.ledger.waiting().await.unwrap() > 0).then_some(())
        })
        .await;
    }
}

/// The directory of the programs. Cargo builds those of a package for that package's own tests only: here they are built
/// on first use.
pub(crate) fn directory() -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let build = || programs::build(programs::directory()?.ends_with("release"));
    DIRECTORY.get_or_init(|| build().unwrap()).clone()
}

/// A program of the workspace, with an empty environment.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(directory().join(name));
    command.env_clear();
    command
}

/// Waits until a program ends by itself; returns whether it succeeded, and its output.
pub(crate) fn finish(mut process: Process) -> (bool, String) {
    let status = process.wait(TIMEOUT).unwrap();
    (status.success(), process.output())
}

/// Terminates a program like a process supervisor; returns whether it succeeded, and its output.
pub(crate) fn terminate(process: Process) -> (bool, String) {
    process.signal(Signal::TERM);
    finish(process)
}

/// Interrupts a program like a terminal; returns whether it succeeded, and its output.
pub(crate) fn interrupt(process: Process) -> (bool, String) {
    process.signal(Signal::INT);
    finish(process)
}

/// The output of a program that must have succeeded.
#[track_caller]
pub(crate) fn succeeded((content, output): (bool, String)) -> String {
    assert!(content, "{output}");
    output
}

/// The output of a program that must have failed.
#[track_caller]
pub(crate) fn failed((content, output): (bool, String)) -> String {
    assert!(!content, "{output}");
    output
}
