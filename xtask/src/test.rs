//! `cargo xtask test`: the whole test suite against real servers, which end with it.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use jetline_testkit::{nats::NatsServer, postgres::PostgresServer, programs, redis::RedisServer};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{install, signals::Interrupt};

/// How long the tests may take to end after Ctrl-C.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// PostgreSQL has its data in memory where as much is free there.
const MIN_MEMORY: u64 = 4 << 30;

/// Between two checks whether the tests have ended.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Run all tests against real servers.
///
/// Finds PostgreSQL, NATS and Redis, or installs them where it can (as root, from Debian's packages), starts one of
/// each on a free port, and ends them with the tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What `cargo test` takes, such as `-p jetline-writer`; without a package, the whole workspace is tested.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    cargo: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    install::missing_servers()?;
    install::missing_browser()?;
    let interrupt = Interrupt::listen()?;
    // A test that is about crashes starts servers of its own: these need not survive one.
    let postgres = PostgresServer::start_in(
        &data_directory(),
        &[
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
            ("max_connections", "400"),
        ],
    )?;
    let nats = NatsServer::start()?;
    let redis = RedisServer::start()?;
    let variables = [
        ("JETLINE_TEST_POSTGRES", postgres.url().to_owned()),
        ("JETLINE_TEST_NATS", nats.url().to_string()),
        ("JETLINE_TEST_REDIS", redis.url().to_string()),
    ];
    for (name, url) in &variables {
        println!("{name}={url}");
    }
    let directory = tempfile::Builder::new().prefix("jetline-test-").tempdir()?;
    // PostgreSQL's account must be able to pass through.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o711))?;
    // Tests wait for servers most of the time.
    let threads = 4 * thread::available_parallelism()?.get();
    let threads = env::var("RUST_TEST_THREADS").unwrap_or(threads.to_string());
    let cargo = programs::cargo()
        .arg("test")
        .args(packages(&arguments.cargo))
        .args(&arguments.cargo)
        .envs(variables)
        .env("RUST_TEST_THREADS", threads)
        // What a killed test leaves behind is in here, and goes with it.
        .env("TMPDIR", directory.path())
        .process_group(0)
        .spawn()
        .context("cannot run cargo")?;
    let status = Tests(cargo).wait(&interrupt)?;
    ensure!(status.success(), "cargo test ended with {status}");
    Ok(())
}

/// Where the server has its data. Each test creates a database of 300 files and drops it: in memory, those of the store take 70 s
/// instead of 100.
fn data_directory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let free = rustix::fs::statvfs(&memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if free > MIN_MEMORY { memory } else { env::temp_dir() }
}

fn packages(cargo: &[String]) -> &'static [&'static str] {
    let chosen = cargo
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    if chosen { &[] } else { &["--workspace", "--tests"] }
}

/// cargo, as the leader of a process group: the tests and the servers that they start are in it too, and whatever is left
/// of them ends with this.
struct Tests(Child);

impl Tests {
    fn wait(&mut self, interrupt: &Interrupt) -> anyhow::Result<ExitStatus> {
        let mut interrupted = None::<Instant>;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            match interrupted {
                None if interrupt.check().is_err() => {
                    self.signal(Signal::TERM);
                    interrupted = Some(Instant::now());
                }
                Some(at) if at.elapsed() > STOP_TIMEOUT => self.signal(Signal::KILL),
                _ => {}
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn signal(&self, signal: Signal) {
        // An error means that nobody is left.
        let _ = kill_process_group(Pid::from_child(&self.0), signal);
    }
}

impl Drop for Tests {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn whole_workspace_is_tested_unless_packages_are_named() {
        let packages = |words: [&str; 2]| super::packages(&words.map(str::to_owned));
        assert_eq!(packages(["--release", "name"]), ["--workspace", "--tests"]);
        assert_eq!(packages(["--", "-package"]), ["--workspace", "--tests"]);
        assert!(packages(["-p", "xtask"]).is_empty());
        assert!(packages(["--package=xtask", "name"]).is_empty());
    }
}
