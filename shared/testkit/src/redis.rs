//! Redis for tests: a separate prefix on the shared server, or a private server to restart, wipe and fill.

use std::{path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Context, ensure};
use rand::distr::{Alphanumeric, SampleString};
use redis::{Client, ClientTlsConfig, Connection, TlsCertificates};
use tempfile::TempDir;
use url::Url;

use crate::{
    process::{Process, free_port, program, server},
    tls::ServerTls,
};

/// How often a starting server is polled: for ten seconds in total.
const ATTEMPTS: u32 = 500;

/// The server that all tests share. Each test uses a separate prefix.
#[must_use]
pub fn shared() -> Url {
    let url = server("JETLINE_TEST_REDIS");
    url.parse().unwrap_or_else(|error| panic!("JETLINE_TEST_REDIS is not a URL: {error}"))
}

/// A unique key prefix.
#[must_use]
pub fn unique_prefix(name: &str) -> String {
    let random = Alphanumeric.sample_string(&mut rand::rng(), 12);
    format!("test:{name}:{random}")
}

/// The options of a private server.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// `maxmemory`, in bytes, with `noeviction`.
    pub max_memory: Option<u64>,
    /// The required password.
    pub password: Option<String>,
    /// Whether it is a node of a cluster.
    pub cluster: bool,
    /// The certificate, if TLS is required.
    pub tls: Option<ServerTls>,
}

/// A private server without automatic snapshots, stopped when it is dropped.
pub struct RedisServer {
    process: Process,
    options: Box<RedisOptions>,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts an empty server.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(RedisOptions::default())
    }

    /// Starts an empty server with options.
    pub fn start_with(options: RedisOptions) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let server = Self {
            process: spawn(&folder, port, &options)?,
            options: Box::new(options),
            port,
            folder,
        };
        server.wait()?;
        Ok(server)
    }

    /// Its URL, with the password if required.
    #[must_use]
    pub fn url(&self) -> Url {
        let user = match &self.options.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        let url = format!("{scheme}://{user}127.0.0.1:{}", self.port);
        url.parse().unwrap_or_else(|error| panic!("{url} is not a URL: {error}"))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it and starts it from its last snapshot.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill();
        self.process = spawn(&self.folder, self.port, &self.options)?;
        self.wait()
    }

    /// Kills it and starts it empty.
    pub fn restart_empty(&mut self) -> anyhow::Result<()> {
        self.process.kill();
        let snapshot = self.snapshot();
        if snapshot.exists() {
            std::fs::remove_file(snapshot)?;
        }
        self.restart()
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.process.kill();
    }

    /// Writes a snapshot.
    pub fn save(&self) -> anyhow::Result<()> {
        self.command(&["SAVE"])
    }

    /// Removes every key.
    pub fn flush_all(&self) -> anyhow::Result<()> {
        self.command(&["FLUSHALL"])
    }

    /// Sends a command; an error reply is an error.
    pub fn command(&self, words: &[&str]) -> anyhow::Result<()> {
        redis::cmd(words[0])
            .arg(&words[1..])
            .exec(&mut self.connection()?)
            .with_context(|| format!("{} failed", words[0]))
    }

    /// A connection for other commands.
    pub fn connection(&self) -> anyhow::Result<Connection> {
        let Some(tls) = &self.options.tls else {
            return Ok(Client::open(self.url())?.get_connection()?);
        };
        let client_tls = ClientTlsConfig {
            client_cert: tls.certificate.clone().into_bytes(),
            client_key: tls.key.clone().into_bytes(),
        };
        let certificates = TlsCertificates {
            client_tls: tls.ask_clients.then_some(client_tls),
            root_cert: Some(tls.authority.clone().into_bytes()),
        };
        Ok(Client::build_with_tls(self.url(), certificates)?.get_connection()?)
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    /// Waits until it has loaded its snapshot and responds.
    fn wait(&self) -> anyhow::Result<()> {
        let mut answer = self.process_id();
        for _ in 0..ATTEMPTS {
            if answer.is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
            answer = self.process_id();
        }
        let (asked, own) = (answer.context("redis-server is not ready")?, self.process.id());
        ensure!(asked == own, "port {} was taken by process {asked}", self.port);
        Ok(())
    }

    fn process_id(&self) -> anyhow::Result<u32> {
        let info: redis::InfoDict = redis::cmd("INFO").query(&mut self.connection()?)?;
        ensure!(info.get::<u8>("loading") == Some(0), "redis-server is loading");
        info.get("process_id").context("INFO names no process")
    }
}

fn spawn(folder: &TempDir, port: u16, options: &RedisOptions) -> anyhow::Result<Process> {
    let mut command = Command::new(program("redis-server")?);
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg(if options.tls.is_some() { "--tls-port" } else { "--port" })
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder.path());
    if let Some(tls) = &options.tls {
        let files = tls.write(folder.path())?;
        let ask = if tls.ask_clients { "yes" } else { "no" };
        command
            .args(["--port", "0", "--tls-auth-clients", ask, "--tls-cert-file"])
            .arg(files.certificate)
            .arg("--tls-key-file")
            .arg(files.key)
            .arg("--tls-ca-cert-file")
            .arg(files.authority);
    }
    if let Some(bytes) = options.max_memory {
        command.arg("--maxmemory").arg(bytes.to_string());
    }
    if let Some(password) = &options.password {
        command.arg("--requirepass").arg(password);
    }
    if options.cluster {
        command.args(["--cluster-enabled", "yes"]);
    }
    let mut process = Process::start(command, &folder.path().join("redis.log"))?;
    process.wait_for_port(port)?;
    Ok(process)
}
