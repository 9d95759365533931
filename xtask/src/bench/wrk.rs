//! wrk, which makes requests to the API: connections that are kept, a request on each at a time.

use std::{net::SocketAddr, process::Command, time::Duration};

use anyhow::{Context, ensure};
use jetline_testkit::{
    process::{Process, program},
    usage::Scope,
};
use serde::Deserialize;

use super::{
    processes::Processes,
    report::{Run, cores},
    services::Servers,
};

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bench");

/// What wrk says in its last line.
#[derive(Deserialize)]
struct Answers {
    requests: u64,
    micros: u64,
    /// In milliseconds.
    p50: f64,
    p99: f64,
    /// Requests without an answer, or with another one than the script asks for.
    failed: u64,
}

/// Makes the requests of a script. Fails if not all of them succeed.
pub(super) fn wrk(
    servers: &Servers,
    processes: &mut Processes,
    api: SocketAddr,
    clients: usize,
    script: &str,
    arguments: &[String],
) -> anyhow::Result<Run> {
    let log = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(program("wrk")?);
    command
        .current_dir(SCRIPTS)
        .arg(format!("--threads={}", clients.min(cores())))
        .arg(format!("--connections={clients}"))
        .arg(format!("--duration={}s", servers.bench.arguments.seconds))
        .args(["--script", script])
        .arg(format!("http://{api}"))
        .arg("--")
        .args(arguments);
    let start = || Process::start(command, log.path());
    let (_, wrk) = processes.time("wrk", Scope::Alone, start)?;
    let output = wrk.output();
    let line = output.lines().next_back().unwrap_or_default();
    let answers: Answers =
        serde_json::from_str(line).with_context(|| format!("wrk said {output}"))?;
    ensure!(answers.failed == 0, "not all requests succeeded: {line}");
    let time = Duration::from_micros(answers.micros);
    let figures = [("p50, ms", answers.p50), ("p99, ms", answers.p99)];
    Ok(processes.run(time, Some(answers.requests), figures))
}
