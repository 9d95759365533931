//! NATS for tests: a separate stream on the shared server, or a private server to restart and wipe.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rand::distr::{Alphanumeric, SampleString};
use tempfile::TempDir;
use url::Url;

use crate::{
    process::{Process, Signal, free_port, program, server},
    tls::ServerTls,
};

/// The timeout of stopping a server.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The bytes that streams can reserve, which are not used. The server's default is a part of what is free on the disk.
const MAX_FILE_STORE: u64 = 1 << 40;

/// The server that all tests share. Each test uses a separate stream.
#[must_use]
pub fn shared() -> Url {
    address(&server("JETLINE_TEST_NATS"))
}

/// A unique stream name.
#[must_use]
pub fn unique_stream(name: &str) -> String {
    let random = Alphanumeric.sample_string(&mut rand::rng(), 12);
    format!("TEST_{name}_{random}")
}

/// The options of a private server.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Whether `JetStream` is enabled.
    pub jetstream: bool,
    /// `max_payload`, in bytes.
    pub max_payload: usize,
    /// The required user and password.
    pub user: Option<(String, String)>,
    /// Whether it serves its monitoring endpoints.
    pub monitoring: bool,
    /// The directory of its streams, which it creates; a temporary one if `None`.
    pub store: Option<PathBuf>,
    /// The certificate, if TLS is required.
    pub tls: Option<ServerTls>,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            jetstream: true,
            max_payload: 1 << 20,
            user: None,
            monitoring: false,
            store: None,
            tls: None,
        }
    }
}

/// The part of a server's store to damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsDamage {
    /// The messages of all streams.
    Messages,
    /// The state of all consumers.
    Consumers,
}

impl NatsDamage {
    fn hits(self, file: &Path) -> bool {
        let name = file.extension().unwrap_or_default();
        match self {
            Self::Messages => name == "blk",
            Self::Consumers => file.ends_with("o.dat"),
        }
    }
}

/// A private server, stopped when it is dropped.
pub struct NatsServer {
    process: Process,
    options: NatsOptions,
    port: u16,
    monitoring: Option<u16>,
    folder: TempDir,
}

impl NatsServer {
    /// Starts an empty server with `JetStream`.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(NatsOptions::default())
    }

    /// Starts an empty server with options.
    pub fn start_with(options: NatsOptions) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let monitoring = options.monitoring.then(free_port).transpose()?;
        fs::write(
            folder.path().join("nats.conf"),
            configuration(folder.path(), port, monitoring, &options)?,
        )?;
        Ok(Self { process: spawn(folder.path())?, options, port, monitoring, folder })
    }

    /// Its URL, with user and password if required.
    #[must_use]
    pub fn url(&self) -> Url {
        let user = match &self.options.user {
            Some((user, password)) => format!("{user}:{password}@"),
            None => String::new(),
        };
        let scheme = if self.options.tls.is_some() { "tls" } else { "nats" };
        address(&format!("{scheme}://{user}127.0.0.1:{}", self.port))
    }

    /// The address of its monitoring endpoints, such as `/varz`, if enabled.
    #[must_use]
    pub fn monitoring(&self) -> Option<SocketAddr> {
        self.monitoring.map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills it and starts it with its store.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.process = spawn(self.folder.path())?;
        Ok(())
    }

    /// Kills it and starts it with an empty store.
    pub fn wipe_and_restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        let store = store(self.folder.path(), &self.options);
        if store.exists() {
            fs::remove_dir_all(store)?;
        }
        self.restart()
    }

    /// Stops it, so that it writes the state of its consumers, changes bytes in its store, as a bad disk does, and starts
    /// it.
    pub fn damage_and_restart(&mut self, damage: NatsDamage) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM);
        if self.process.wait(STOP_TIMEOUT).is_err() {
            // 2.9.10 was seen to hang when it is stopped.
            self.process.kill();
        }
        for file in files(&store(self.folder.path(), &self.options))? {
            if damage.hits(&file) {
                let bytes = fs::read(&file)?;
                let changed: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x55).collect();
                let (head, tail) = (bytes.len() / 4, bytes.len() / 2);
                fs::write(&file, [&bytes[..head], &changed[head..tail], &bytes[tail..]].concat())?;
            }
        }
        self.restart()
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}

fn address(url: &str) -> Url {
    url.parse().unwrap_or_else(|error| panic!("{url} is not the URL of a NATS server: {error}"))
}

fn configuration(
    folder: &Path,
    port: u16,
    monitoring: Option<u16>,
    options: &NatsOptions,
) -> anyhow::Result<String> {
    let mut lines = vec![
        format!("listen: \"127.0.0.1:{port}\""),
        format!("max_payload: {}", options.max_payload),
    ];
    if options.jetstream {
        let store = store(folder, options);
        lines.push(format!(
            "jetstream {{ store_dir: \"{}\", max_file_store: {MAX_FILE_STORE} }}",
            store.display()
        ));
    }
    if let Some((user, password)) = &options.user {
        let login = format!("user: \"{user}\", password: \"{password}\"");
        lines.push(format!("authorization {{ {login} }}"));
    }
    if let Some(port) = monitoring {
        lines.push(format!("http: \"127.0.0.1:{port}\""));
    }
    if let Some(tls) = &options.tls {
        let files = tls.write(folder)?;
        let [certificate, key, authority] = [&files.certificate, &files.key, &files.authority]
            .map(|file| format!("\"{}\"", file.display()));
        lines.push(format!(
            "tls {{ cert_file: {certificate}, key_file: {key}, ca_file: {authority}, verify: {} }}",
            tls.ask_clients
        ));
    }
    Ok(lines.join("\n"))
}

fn store(folder: &Path, options: &NatsOptions) -> PathBuf {
    let own = || folder.join("store");
    options.store.clone().unwrap_or_else(own)
}

/// All files below a directory.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn spawn(folder: &Path) -> anyhow::Result<Process> {
    let log = folder.join("nats.log");
    let mut command = Command::new(program("nats-server")?);
    command.arg("--config").arg(folder.join("nats.conf"));
    let mut process = Process::start(command, &log)?;
    // The server's log rather than the port, which another process may have taken meanwhile.
    let author = format!("[{}] ", process.id());
    process.wait_until("is ready", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let mut lines = log.lines();
        lines.any(|line| line.starts_with(&author) && line.ends_with("Server is ready"))
    })?;
    Ok(process)
}
