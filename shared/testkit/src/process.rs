//! Server processes of tests: found, started on a free port, and stopped when they are dropped.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// The timeout of starting a process, on a machine that is busy with other tests.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(90);

/// The timeout of stopping a program.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How many lines of a log an error shows.
const LOG_LINES: usize = 12;

/// The interval of polling a process that is starting or ending: there is no event to wait for.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The first port that servers get, and how many there are.
const FIRST_PORT: u16 = 15_000;
const PORT_COUNT: u32 = 17_000;

/// The folders in which programs are looked for first.
static PREFERRED: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Looks for servers' programs in these folders first, from now on. The first call counts.
pub fn prefer_programs_in(folders: Vec<PathBuf>) {
    let _ = PREFERRED.set(folders);
}

/// The path of a server's program: in `PATH`, `/usr/sbin`, or where Debian keeps PostgreSQL.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = PREFERRED.get().cloned().unwrap_or_default();
    folders.extend(env::split_paths(&path));
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

/// A TCP port of 127.0.0.1 that was just free.
///
/// A process gets every other port of the range before it gets this one again: the server that it is for may not have
/// bound it yet, or may be stopped. The range is below the ephemeral ports, so that no client that retries meanwhile can
/// connect to itself.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(listen_on_free_port()?.local_addr()?.port())
}

/// A listener on such a port, for a server in this process.
pub(crate) fn listen_on_free_port() -> anyhow::Result<TcpListener> {
    /// Processes begin at different ports.
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random()));
    (0..PORT_COUNT)
        .map(|_| FIRST_PORT + (NEXT.fetch_add(1, Relaxed) % PORT_COUNT) as u16)
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .with_context(|| format!("none of {PORT_COUNT} ports from {FIRST_PORT} on is free"))
}

/// A process that is killed when this is dropped.
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
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// Waits until the port of 127.0.0.1 is open; fails if the process has ended.
    pub fn wait_for_port(&mut self, port: u16) -> anyhow::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.wait_until(&format!("listens on port {port}"), || {
            TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
        })
    }

    /// Waits until the condition holds; fails if the process has ended, or after the timeout.
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
            if begin.elapsed() > START_TIMEOUT {
                bail!("timeout waiting until {} {what}: {}", self.name, self.output());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; ignored if the process has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Its exit status, if it has ended.
    pub fn try_wait(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, timeout: Duration) -> anyhow::Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > timeout {
                bail!("{} still runs after {timeout:?}: {}", self.name, self.output());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Kills it with SIGKILL and waits until it has ended.
    pub fn kill(&mut self) {
        // An error means that it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it with a signal; it must end successfully.
    pub fn stop(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.signal(signal);
        self.ended()
    }

    /// Waits until it has ended; it must do so successfully.
    pub fn ended(&mut self) -> anyhow::Result<()> {
        let status = self.wait(STOP_TIMEOUT)?;
        ensure!(status.success(), "{} ended with {status}: {}", self.name, self.end_of_log());
        Ok(())
    }

    /// The last lines of its output.
    #[must_use]
    pub fn end_of_log(&self) -> String {
        let log = self.output();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Its output so far.
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn port_is_not_handed_out_again_at_once() {
        let ports: HashSet<u16> = (0..1000).map(|_| free_port().unwrap()).collect();

        assert_eq!(ports.len(), 1000);
    }
}
