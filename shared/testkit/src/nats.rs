//! NATS for tests: a stream of one's own on the shared server, or a private server to restart and wipe.

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

/// How long it may take to end.
const END: Duration = Duration::from_secs(30);

/// The server that all tests share. Each keeps to a stream of its own.
#[must_use]
pub fn shared() -> Url {
    address(&server("JETLINE_TEST_NATS"))
}

/// A stream name that no other test has.
#[must_use]
pub fn unique_stream(name: &str) -> String {
    let random = Alphanumeric.sample_string(&mut rand::rng(), 12);
    format!("TEST_{name}_{random}")
}

/// What a private server is started with.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// Whether it has `JetStream`.
    pub jetstream: bool,
    /// The largest message, in bytes, that it takes.
    pub max_payload: usize,
    /// The user and the password that it asks for.
    pub user: Option<(String, String)>,
    /// Whether it serves its own figures over HTTP.
    pub monitoring: bool,
    /// The folder of its streams, which it makes; a temporary one if there is none.
    pub store: Option<PathBuf>,
    /// The certificate with which it speaks TLS, and nothing else.
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

/// What is damaged in a server's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsDamage {
    /// The messages of all streams.
    Messages,
    /// What all consumers have delivered.
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

/// A server of one test. It ends with its owner.
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
        Ok(Self {
            process: spawn(folder.path())?,
            options,
            port,
            monitoring,
            folder,
        })
    }

    /// Its address, with the user and the password if it asks for them.
    #[must_use]
    pub fn url(&self) -> Url {
        let user = match &self.options.user {
            Some((user, password)) => format!("{user}:{password}@"),
            None => String::new(),
        };
        let scheme = if self.options.tls.is_some() {
            "tls"
        } else {
            "nats"
        };
        address(&format!("{scheme}://{user}127.0.0.1:{}", self.port))
    }

    /// Where it serves its own figures, such as `/varz`, when it was asked to.
    #[must_use]
    pub fn monitoring(&self) -> Option<SocketAddr> {
        self.monitoring
            .map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Crashes it, and starts it again with what it has stored.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.process = spawn(self.folder.path())?;
        Ok(())
    }

    /// Crashes it, and starts it again with nothing.
    pub fn wipe_and_restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        let store = store(self.folder.path(), &self.options);
        if store.exists() {
            fs::remove_dir_all(store)?;
        }
        self.restart()
    }

    /// Ends it, so that it writes down what it has delivered, damages what it has stored, and starts it again: changed
    /// bytes, as a bad disk has them.
    pub fn damage_and_restart(&mut self, damage: NatsDamage) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM);
        self.process.wait(END)?;
        for file in files(&store(self.folder.path(), &self.options))? {
            if damage.hits(&file) {
                let bytes = fs::read(&file)?;
                let changed: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x55).collect();
                let (head, tail) = (bytes.len() / 4, bytes.len() / 2);
                fs::write(
                    &file,
                    [&bytes[..head], &changed[head..tail], &bytes[tail..]].concat(),
                )?;
            }
        }
        self.restart()
    }

    /// Crashes it.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}

fn address(url: &str) -> Url {
    url.parse()
        .unwrap_or_else(|error| panic!("{url} is not the URL of a NATS server: {error}"))
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
            "jetstream {{ store_dir: \"{}\" }}",
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

/// All files below a folder.
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
    // Its own word rather than the port, which another process may have taken meanwhile.
    let author = format!("[{}] ", process.id());
    process.wait_until("is ready", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let mut lines = log.lines();
        lines.any(|line| line.starts_with(&author) && line.ends_with("Server is ready"))
    })?;
    Ok(process)
}
