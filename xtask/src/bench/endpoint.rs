//! The S3 endpoint of a run, and what it was asked for.

use std::{os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, ensure};
use jetline_testkit::process::{Process, Signal, free_port};
use tempfile::TempDir;

use super::build::Binaries;

const BUCKET: &str = "bench";

/// What the endpoint asks for and the services bring.
pub(super) const CREDENTIALS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "bench"),
    ("AWS_SECRET_ACCESS_KEY", "bench-secret"),
];

/// How many requests there were.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) lists: u64,
    pub(super) gets: u64,
}

/// A running endpoint.
pub(super) struct Endpoint {
    process: Process,
    port: u16,
    prefix: String,
    // After the process, which serves what is in it.
    _directory: TempDir,
}

impl Endpoint {
    /// Serves the files of a directory with this prefix before their keys.
    pub(super) fn start(
        binaries: &Binaries,
        files: &Path,
        prefix: &str,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        symlink(files, directory.path().join(prefix))?;
        let port = free_port()?;
        let mut command = Command::new(binaries.path("s3-files")?);
        command
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--bucket", BUCKET])
            .arg(directory.path())
            .envs(CREDENTIALS);
        let mut process = Process::start(command, log)?;
        process.wait_for_port(port)?;
        Ok(Self {
            process,
            port,
            prefix: prefix.to_owned(),
            _directory: directory,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What `AWS_ENDPOINT_URL` is set to.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What `SOURCE` is set to.
    pub(super) fn source(&self) -> String {
        format!("s3://{BUCKET}/{}/", self.prefix)
    }

    /// Ends it.
    pub(super) fn end(mut self) -> anyhow::Result<Requests> {
        self.process.signal(Signal::INT);
        let status = self.process.wait(super::services::STOP)?;
        ensure!(status.success(), "s3-files ended with {status}");
        let log = self.process.output();
        requests(&log).with_context(|| format!("s3-files does not say what it served: {log}"))
    }
}

/// From the last line that it writes: `served 1 lists and 68 gets`.
fn requests(log: &str) -> Option<Requests> {
    let (lists, gets) = log
        .lines()
        .next_back()?
        .strip_prefix("served ")?
        .strip_suffix(" gets")?
        .split_once(" lists and ")?;
    Some(Requests {
        lists: lists.parse().ok()?,
        gets: gets.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_the_last_line() {
        let log = "4 files as s3://bench on http://127.0.0.1:1\nserved 1 lists and 68 gets\n";
        assert_eq!(requests(log), Some(Requests { lists: 1, gets: 68 }));
        assert_eq!(requests("4 files"), None);
        assert_eq!(requests(""), None);
    }
}
