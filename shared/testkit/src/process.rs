//! Server processes of a test: found, started on a free port, and ended with their owner.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(30);

/// Between two looks at a process that is to start or to end: there is no event to wait for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The path of a server's program: in `PATH`, `/usr/sbin`, or where Debian keeps PostgreSQL.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    let mut postgres: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    postgres.sort();
    folders.extend(postgres.into_iter().rev());
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: run `cargo xtask test`, which gets it"))
}

/// The value of a variable that `cargo xtask test` sets.
#[must_use]
pub fn server(variable: &str) -> String {
    env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run the tests with `cargo xtask test`"))
}

/// A TCP port of 127.0.0.1 that nobody listened on a moment ago.
///
/// It lies below the ports that connections are made from: such a port stays free while its server restarts, and no
/// client that tries again meanwhile can end up connected to itself.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(listen_on_free_port()?.local_addr()?.port())
}

/// The same for a server within this process, which nobody can take the port from.
pub(crate) fn listen_on_free_port() -> anyhow::Result<TcpListener> {
    (0..1000)
        .map(|_| rand::random_range(15_000..32_000))
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .context("no free port between 15000 and 32000")
}

/// A process that is killed when its owner lets go of it.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output is appended to a log file.
    pub fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            child,
            name,
            log: log.to_owned(),
        })
    }

    /// Waits until something listens on the port of 127.0.0.1, or fails when the process has ended.
    pub fn wait_for_port(&mut self, port: u16) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.wait_until(&format!("listens on port {port}"), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        })
    }

    /// Waits until the condition holds, or fails when the process has ended or took too long.
    pub fn wait_until(
        &mut self,
        what: &str,
        mut condition: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !condition() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.output());
            }
            if begin.elapsed() > START {
                bail!(
                    "waited in vain until {} {what}: {}",
                    self.name,
                    self.output()
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; a process that has ended by itself takes none.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// How it has ended, if it has.
    pub fn try_wait(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > patience {
                bail!(
                    "{} still runs after {patience:?}: {}",
                    self.name,
                    self.output()
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends it at once, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it has written so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
