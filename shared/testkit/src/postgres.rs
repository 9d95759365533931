//! PostgreSQL: a private server for a test that crashes or restarts it, and a separate [`Database`] for every test.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::{
    process::{Process, Signal, free_port, program},
    tls::ServerTls,
};

mod account;
mod database;
mod pooler;
pub mod statements;

use account::Account;
pub use database::TemporaryDatabase;
pub use pooler::PgBouncer;

const USER: &str = "jetline";

/// The timeout of stopping a server, which writes a checkpoint first.
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// What the server logs when it accepts connections.
const ACCEPTS: &str = "database system is ready to accept connections";

/// A PostgreSQL server in a temporary directory, on a port of 127.0.0.1. It keeps its port and its data when it is
/// stopped and started; both go when it is dropped.
pub struct PostgresServer {
    // Declared before the directory: the server must be stopped before its files are removed.
    process: Option<Process>,
    directory: TempDir,
    account: Option<Account>,
    port: u16,
    url: String,
    settings: Vec<String>,
}

impl PostgresServer {
    /// Starts a server with full durability.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with settings of `postgresql.conf`, such as `("fsync", "off")`.
    pub fn start_with(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_as(&env::temp_dir(), settings, None)
    }

    /// The same, with its data below this directory.
    pub fn start_in(directory: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_as(directory, settings, None)
    }

    /// Starts a server that requires TLS. Its URL does not verify the certificate.
    pub fn start_with_tls(tls: &ServerTls) -> anyhow::Result<Self> {
        Self::start_as(&env::temp_dir(), &[], Some(tls))
    }

    fn start_as(
        directory: &Path,
        settings: &[(&str, &str)],
        tls: Option<&ServerTls>,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let password = format!("{:016x}", rand::random::<u64>());
        let mut server = Self {
            process: None,
            directory: tempfile::Builder::new()
                .prefix("jetline-postgres-")
                .tempdir_in(directory)?,
            account: Account::instead_of_root()?,
            port,
            url: format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres"),
            settings: command_line(port, settings),
        };
        server.create_cluster(&password)?;
        if let Some(tls) = tls {
            server.require_tls(tls)?;
        }
        server.start_again()?;
        Ok(server)
    }

    /// The superuser's URL of the database `postgres`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port of 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// The directory of its data and log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its log since the first start.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Stops it with a fast shutdown.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::INT)
    }

    /// Starts it after it was stopped or crashed, and waits until it accepts connections.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "PostgreSQL runs already");
        let mut command = self.command("postgres")?;
        command.arg("-D").arg(self.data()).args(&self.settings);
        let mut process = Process::start(command, &self.directory.path().join("log"))?;
        let status = self.data().join("postmaster.pid");
        let pid = process.id().to_string();
        process.wait_until("accepts connections", || {
            fs::read_to_string(&status).is_ok_and(|lines| is_ready(&lines, &pid))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it with a fast shutdown and starts it.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// Stops it with an immediate shutdown and starts it: it recovers from its WAL.
    pub fn crash(&mut self) -> anyhow::Result<()> {
        self.stop_immediate()?;
        self.start_again()
    }

    /// Ends one of its backends with SIGKILL, and waits until the server has recovered: it ends all others, and has the same
    /// start time afterwards.
    pub fn kill_backend(&mut self, pid: i32) -> anyhow::Result<()> {
        let recovered = |log: &str| log.matches(ACCEPTS).count();
        let before = recovered(&self.output());
        let pid = Pid::from_raw(pid).context("not a process id")?;
        kill_process(pid, Signal::KILL).context("cannot kill a backend")?;
        let log = self.directory.path().join("log");
        let process = self.process.as_mut().context("PostgreSQL does not run")?;
        process.wait_until("recovers", || {
            fs::read_to_string(&log).is_ok_and(|log| recovered(&log) > before)
        })
    }

    /// Stops it with an immediate shutdown, without writing buffers. SIGKILL would prevent the next start for as long as an
    /// orphaned backend lives.
    pub fn stop_immediate(&mut self) -> anyhow::Result<()> {
        self.end(Signal::QUIT)
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        let mut process = self.process.take().context("PostgreSQL does not run")?;
        process.signal(signal);
        process.wait(STOP_TIMEOUT)?;
        Ok(())
    }

    fn create_cluster(&self, password: &str) -> anyhow::Result<()> {
        let password_file = self.directory.path().join("password");
        fs::write(&password_file, password)?;
        if let Some(account) = &self.account {
            account.own(self.directory.path())?;
            account.own(&password_file)?;
        }
        let mut initdb = self.command("initdb")?;
        initdb
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .args(["--username", USER])
            .arg("--pwfile")
            .arg(&password_file)
            .arg(self.data());
        let output = initdb.output().context("cannot run initdb")?;
        ensure!(
            output.status.success(),
            "initdb ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn require_tls(&mut self, tls: &ServerTls) -> anyhow::Result<()> {
        let files = tls.write(self.directory.path())?;
        // It refuses a key that other users could read.
        fs::set_permissions(&files.key, Permissions::from_mode(0o600))?;
        let clients = if tls.ask_clients { " clientcert=verify-ca" } else { "" };
        let rule = format!("hostssl all all 127.0.0.1/32 scram-sha-256{clients}\n");
        fs::write(self.data().join("pg_hba.conf"), rule)?;
        for (name, file) in [
            ("ssl_cert_file", &files.certificate),
            ("ssl_key_file", &files.key),
            ("ssl_ca_file", &files.authority),
        ] {
            if let Some(account) = &self.account {
                account.own(file)?;
            }
            let setting = format!("{name}={}", file.display());
            self.settings.extend(["-c".to_owned(), setting]);
        }
        self.settings.extend(["-c".to_owned(), "ssl=on".to_owned()]);
        Ok(())
    }

    /// A command of PostgreSQL, run by its account in a directory that this account can access.
    fn command(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(program(name)?);
        command.current_dir(self.directory.path());
        if let Some(account) = &self.account {
            account.run(&mut command);
        }
        Ok(command)
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Drop for PostgresServer {
    /// Waits for the backends too, unlike SIGKILL: they would write to a directory that is being removed.
    fn drop(&mut self) {
        let _ = self.end(Signal::QUIT);
    }
}

fn command_line(port: u16, settings: &[(&str, &str)]) -> Vec<String> {
    let port = port.to_string();
    let ours = [
        ("listen_addresses", "127.0.0.1"),
        ("port", port.as_str()),
        ("unix_socket_directories", ""),
        ("max_connections", "250"),
    ];
    ours.iter()
        .chain(settings)
        .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
        .collect()
}

/// `postmaster.pid` holds the process id in its first line and, in its eighth, whether connections are taken. A port
/// that is open is not enough: it is open before recovery has ended.
fn is_ready(lines: &str, pid: &str) -> bool {
    let mut lines = lines.lines().map(str::trim);
    lines.next() == Some(pid) && lines.nth(6) == Some("ready")
}
