//! The services of an installation, as processes: where their programs are, their settings, and how they are started.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use tokio::time::sleep;

use crate::{
    http,
    process::{POLL_INTERVAL, Process, START_TIMEOUT, free_port},
    programs::PROGRAMS,
};

/// The programs of a directory, with the same settings for all of them.
pub struct Installation {
    programs: PathBuf,
    folder: PathBuf,
    settings: BTreeMap<String, String>,
    started: AtomicUsize,
}

impl Installation {
    /// The services run in `folder`, where their logs are.
    #[must_use]
    pub fn new(
        programs: &Path,
        folder: &Path,
        settings: impl IntoIterator<Item = (impl Into<String>, String)>,
    ) -> Self {
        Self {
            programs: programs.to_owned(),
            folder: folder.to_owned(),
            settings: settings.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            started: AtomicUsize::new(0),
        }
    }

    /// The directory in which they run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets a setting; returns its previous value.
    pub fn set(&mut self, name: &str, value: &str) -> String {
        self.settings.insert(name.to_owned(), value.to_owned()).unwrap_or_default()
    }

    /// Removes a setting; returns its previous value.
    pub fn unset(&mut self, name: &str) -> String {
        self.settings.remove(name).unwrap_or_default()
    }

    /// A program with the settings as its only environment.
    pub fn command(&self, program: &str) -> anyhow::Result<Command> {
        let file = self.programs.join(program);
        ensure!(
            file.is_file(),
            "{} is missing: `cargo build --workspace --bins` builds it",
            file.display()
        );
        let mut command = Command::new(file.canonicalize()?);
        command.env_clear().envs(&self.settings).current_dir(&self.folder);
        Ok(command)
    }

    /// Starts a program with flags, which override the settings.
    pub fn start(&self, program: &str, flags: &[&str]) -> anyhow::Result<Process> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mut command = self.command(program)?;
        command.args(flags);
        Process::start(command, &self.folder.join(format!("{program}-{number}.log")))
    }

    /// Starts a program of [`PROGRAMS`] that listens, and waits until it responds to a path with success.
    pub async fn serve(&self, program: &str, path: &str) -> anyhow::Result<(Process, SocketAddr)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let known = PROGRAMS.iter().find(|known| known.name == program);
        let option = known.and_then(|known| known.listen);
        let option = option.with_context(|| format!("{program} does not listen"))?;
        let mut process = self.start(program, &[option, &address.to_string()])?;
        let begin = Instant::now();
        while !http::get(address, path, &[]).await.is_ok_and(|answer| answer.status == 200) {
            if process.try_wait()?.is_some() || begin.elapsed() > START_TIMEOUT {
                bail!("{program} does not serve {path}: {}", process.end_of_log());
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok((process, address))
    }
}
