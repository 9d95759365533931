//! `cargo xtask test`: the whole test suite against real servers, which end with it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    runtime::Runtime,
    time::timeout,
};

use crate::{cargo, install, servers::Servers, signals::Signals};

/// How long the tests may take to end after Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(5);

/// Run all tests against real servers.
///
/// Finds PostgreSQL, NATS and Redis, or installs them where it can (as root, from Debian's packages), starts one of
/// each on a free port, and ends them with the tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What `cargo test` takes, such as `-p jetline-writer`; without a package, the whole workspace is tested.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    cargo: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    install::missing_servers()?;
    let runtime = Runtime::new()?;
    // From here on Ctrl-C is ours to answer: no server is left behind.
    let signals = Signals::listen(&runtime)?;
    let servers = Servers::start()?;
    for (name, url) in servers.variables() {
        println!("{name}={url}");
    }
    let status = runtime.block_on(cargo_test(arguments, &servers, signals))?;
    Ok(exit_code(status))
}

async fn cargo_test(
    arguments: &Arguments,
    servers: &Servers,
    mut signals: Signals,
) -> anyhow::Result<ExitStatus> {
    let directory = temporary_directory()?;
    let mut command = Command::from(cargo::command());
    command
        .arg("test")
        .args(packages(&arguments.cargo))
        .args(&arguments.cargo)
        .envs(servers.variables())
        // What a killed test leaves behind is in here, and goes with it.
        .env("TMPDIR", directory.path())
        .process_group(0);
    let mut cargo = command.spawn().context("cannot run cargo")?;
    // cargo leads a group of its own: the tests and the servers that they start are in it too.
    let group = Group::of(&cargo);
    tokio::select! {
        status = cargo.wait() => Ok(status?),
        signal = signals.next() => {
            group.signal(signal);
            if let Ok(status) = timeout(PATIENCE, cargo.wait()).await {
                return Ok(status?);
            }
            group.signal(Signal::KILL);
            Ok(cargo.wait().await?)
        }
    }
}

/// A temporary directory that PostgreSQL's account may pass through.
fn temporary_directory() -> anyhow::Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("jetline-test-").tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711))?;
    Ok(directory)
}

fn packages(cargo: &[String]) -> &'static [&'static str] {
    let chosen = cargo
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"));
    if chosen { &[] } else { &["--workspace"] }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The processes of the tests. Whatever is left of them ends with this.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &Child) -> Self {
        let id = leader.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // An error means that nobody is left.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_workspace_is_tested_unless_packages_are_named() {
        let packages =
            |words: &[&str]| packages(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(packages(&["--release"]), ["--workspace"]);
        assert_eq!(packages(&["--", "-package"]), ["--workspace"]);
        assert!(packages(&["-p", "xtask"]).is_empty());
        assert!(packages(&["--package=xtask"]).is_empty());
    }
}
