//! The S3 endpoint of a run, and what it was asked for.

use std::{os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, ensure};
use jetline_testkit::process::{Process, Signal, free_port};
use tempfile::TempDir;

use super::processes::EXIT_TIMEOUT;

/// A running endpoint.
pub(super) struct Endpoint {
    pub(super) process: Process,
    /// The fetcher's settings for it.
    pub(super) settings: [(&'static str, String); 2],
    // After the process, which serves what is in it.
    _directory: TempDir,
}

impl Endpoint {
    /// Serves the files of a directory, with this prefix to their keys.
    pub(super) fn start(mut command: Command, files: &Path, prefix: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let bucket = directory.path().join("bucket");
        std::fs::create_dir(&bucket)?;
        symlink(files, bucket.join(prefix))?;
        let port = free_port()?;
        command.args(["--bucket", "bench", "--listen"]);
        command.arg(format!("127.0.0.1:{port}")).arg(bucket);
        let mut process = Process::start(command, &directory.path().join("log"))?;
        process.wait_for_port(port)?;
        Ok(Self {
            process,
            settings: [
                ("SOURCE", format!("s3://bench/{prefix}/")),
                ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
            ],
            _directory: directory,
        })
    }

    /// Ends it; returns how many LIST and GET requests there were.
    pub(super) fn end(mut self) -> anyhow::Result<[u64; 2]> {
        self.process.signal(Signal::INT);
        let status = self.process.wait(EXIT_TIMEOUT)?;
        ensure!(status.success(), "s3-files ended with {status}");
        let log = self.process.output();
        requests(&log).with_context(|| format!("s3-files does not say what it served: {log}"))
    }
}

/// From the last line that it writes: `served 1 lists and 68 gets`.
fn requests(log: &str) -> Option<[u64; 2]> {
    let line = log.lines().next_back()?.strip_prefix("served ")?;
    let (lists, gets) = line.strip_suffix(" gets")?.split_once(" lists and ")?;
    Some([lists.parse().ok()?, gets.parse().ok()?])
}
