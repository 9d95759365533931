//! What a benchmark was measured on: figures without it cannot be compared with others.

use std::{fs, num::NonZeroUsize, process::Command, thread::available_parallelism};

use anyhow::{Context, ensure};
use jetline_testkit::process::program;
use serde_json::{Value, json};

/// Program and what it is called.
const SERVERS: [(&str, &str); 3] = [
    ("postgres", "PostgreSQL"),
    ("nats-server", "NATS"),
    ("redis-server", "Redis"),
];

/// Commit, servers and machine.
pub(super) fn environment() -> anyhow::Result<Value> {
    let servers = SERVERS
        .iter()
        .map(|(name, called)| {
            let answer = output(Command::new(program(name)?).arg("--version"))?;
            let version = version(&answer).with_context(|| format!("{name} says {answer:?}"))?;
            Ok(format!("{called} {version}"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(json!({
        "commit": commit(),
        "servers": servers.join(", "),
        "machine": machine(),
    }))
}

/// Cores of this machine.
pub(super) fn cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

fn machine() -> String {
    let cores = cores();
    let model = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| model(&text));
    match model {
        Some(model) => format!("{cores} cores of {model} for everything together"),
        None => format!("{cores} cores for everything together"),
    }
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    let (_, model) = line.split_once(':')?;
    Some(model.trim().to_owned())
}

/// The first word that begins with a number, with or without a `v` before it.
fn version(answer: &str) -> Option<&str> {
    let words = answer.split_whitespace();
    let mut bare = words.map(|word| word.trim_start_matches("v=").trim_start_matches('v'));
    bare.find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
}

/// None outside a clone, as in an unpacked archive.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| output(Command::new("git").args(arguments)).ok();
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let commit = commit.trim();
    Some(if changes.trim().is_empty() {
        commit.to_owned()
    } else {
        format!("{commit} with changes")
    })
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(
        output.status.success(),
        "{name} ended with {}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_found_in_what_servers_say() {
        let postgres = "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)";
        assert_eq!(version(postgres), Some("15.14"));
        assert_eq!(version("nats-server: v2.9.10"), Some("2.9.10"));
        assert_eq!(
            version("Redis server v=7.0.15 sha=00000000:0"),
            Some("7.0.15")
        );
        assert_eq!(version("none"), None);
    }

    #[test]
    fn processor_is_named_where_it_has_a_name() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(model(text).as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
