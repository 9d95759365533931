//! `wrk` as the client of the API: connections that are kept, a request on each at a time.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use jetline_testkit::process::{Process, program};
use serde_json::Value;

use super::{
    environment::cores,
    read::{Answers, Load},
    report::number,
};
use crate::install;

const SCRIPT: &str = include_str!("wrk.lua");

/// Gets it where it is missing and can be had.
pub(super) fn install() -> anyhow::Result<()> {
    if program("wrk").is_err() && install::can_install() {
        install::install(&["wrk"])?;
    }
    ensure!(
        program("wrk").is_ok(),
        "wrk is not installed: sudo apt-get install --no-install-recommends wrk"
    );
    Ok(())
}

/// Starts it.
pub(super) fn start(load: &Load, url: &str, folder: &Path) -> anyhow::Result<Process> {
    let script = folder.join("wrk.lua");
    std::fs::write(&script, SCRIPT)?;
    let mut command = Command::new(program("wrk")?);
    command
        .arg(format!("--threads={}", load.clients.min(cores())))
        .arg(format!("--connections={}", load.clients))
        .arg(format!("--duration={}s", load.seconds))
        .arg("--script")
        .arg(script)
        .args([url, "--", &load.ids.to_string()]);
    Process::start(command, &folder.join("log"))
}

/// What it says in its last line: every answer was the record that was asked for.
pub(super) fn answers(output: &str) -> anyhow::Result<Answers> {
    let line = output.lines().next_back().unwrap_or_default();
    let summary: Value =
        serde_json::from_str(line).with_context(|| format!("wrk said {output}"))?;
    let field = |name: &str| {
        let number = summary[name].as_u64();
        number.with_context(|| format!("no {name} in {line}"))
    };
    let (refused, failed) = (field("refused")?, field("failed")?);
    ensure!(
        (refused, failed) == (0, 0),
        "{refused} requests were refused, {failed} failed"
    );
    Ok(Answers {
        count: field("requests")?,
        time: Duration::from_micros(field("micros")?),
        p50_ms: number(field("p50")?) / 1000.0,
        p99_ms: number(field("p99")?) / 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "Running 1s test\n\
        {\"requests\":9000,\"micros\":1000500,\"p50\":1500,\"p99\":4800,\"refused\":0,\"failed\":0}\n";

    #[test]
    fn answers_are_read_from_the_last_line() {
        let answers = answers(SUMMARY).unwrap();
        assert_eq!(answers.count, 9000);
        assert_eq!(answers.time, Duration::from_micros(1_000_500));
        assert!((answers.p99_ms - 4.8).abs() < 1e-9);
    }

    #[test]
    fn answers_that_are_no_records_are_an_error() {
        let refused = SUMMARY.replace("\"refused\":0", "\"refused\":3");
        let error = answers(&refused).err().unwrap().to_string();
        assert_eq!(error, "3 requests were refused, 0 failed");
        assert!(answers("unable to connect").is_err());
    }
}
