//! `pgbench` as the yardstick of the API: the same rows by the same ids, straight from the database over TCP.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use jetline_testkit::process::{Process, program};

use super::{
    environment::cores,
    figures::percentile,
    read::{Answers, Load},
};

/// The share of transactions whose time is noted: enough for a percentile, and of no weight.
const SAMPLED: &str = "0.1";

/// Starts it.
pub(super) fn start(load: &Load, url: &str, folder: &Path) -> anyhow::Result<Process> {
    let script = folder.join("select.sql");
    fs::write(
        &script,
        format!(
            "\\set id random(1, {})\nSELECT * FROM products WHERE id = :id;\n",
            load.ids
        ),
    )?;
    let mut command = Command::new(program("pgbench")?);
    command
        .args(["--no-vacuum", "--protocol=prepared", "--log"])
        .arg(format!("--sampling-rate={SAMPLED}"))
        .arg(format!("--log-prefix={}", folder.join("latency").display()))
        .arg(format!("--client={}", load.clients))
        .arg(format!("--jobs={}", load.clients.min(cores())))
        .arg(format!("--time={}", load.seconds))
        .arg("--file")
        .arg(script)
        .arg(url);
    Process::start(command, &folder.join("log"))
}

/// What it says, and what its logs of single transactions hold.
pub(super) fn answers(output: &str, folder: &Path) -> anyhow::Result<Answers> {
    let mut millis = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("latency") {
            millis.extend(fs::read_to_string(&path)?.lines().filter_map(latency));
        }
    }
    millis.sort_by(f64::total_cmp);
    let (count, per_second) = rate(output).with_context(|| format!("pgbench said {output}"))?;
    ensure!(per_second > 0.0, "pgbench has done nothing: {output}");
    Ok(Answers {
        count,
        time: Duration::from_secs_f64(super::report::number(count) / per_second),
        p50_ms: percentile(&millis, 50).context("pgbench has noted no time")?,
        p99_ms: percentile(&millis, 99).context("pgbench has noted no time")?,
    })
}

/// Transactions, and how many of them a second, without the time of connecting.
fn rate(output: &str) -> Option<(u64, f64)> {
    let after = |start: &str| output.lines().find_map(|line| line.strip_prefix(start));
    let count = after("number of transactions actually processed: ")?;
    let rate = after("tps = ")?.split_whitespace().next()?;
    Some((count.parse().ok()?, rate.parse().ok()?))
}

/// In milliseconds, from a line of the log: client, transaction, microseconds, …
fn latency(line: &str) -> Option<f64> {
    let micros: f64 = line.split(' ').nth(2)?.parse().ok()?;
    Some(micros / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
transaction type: select.sql
number of transactions actually processed: 108000
number of failed transactions: 0 (0.000%)
latency average = 0.296 ms
initial connection time = 24.016 ms
tps = 54000.500000 (without initial connection time)
";

    #[test]
    fn rate_is_read_from_the_summary() {
        assert_eq!(rate(OUTPUT), Some((108_000, 54_000.5)));
        assert_eq!(rate("pgbench: error: connection refused"), None);
    }

    #[test]
    fn latencies_are_read_from_the_logs_of_all_threads() {
        let folder = tempfile::tempdir().unwrap();
        for (thread, micros) in [("7", 300), ("7.1", 500)] {
            let log = format!("0 1 {micros} 0 1662132851 579985\n");
            fs::write(folder.path().join(format!("latency.{thread}")), log).unwrap();
        }
        let answers = answers(OUTPUT, folder.path()).unwrap();
        assert!((answers.p50_ms - 0.3).abs() < 1e-9);
        assert!((answers.p99_ms - 0.5).abs() < 1e-9);
        assert!((answers.time.as_secs_f64() - 2.0).abs() < 0.001);
    }
}
