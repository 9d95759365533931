//! `dedup-memory`: what the dedup store holds for a record.

use std::process::Command;

use anyhow::{Context, ensure};
use jetline_testkit::process::program;

use super::{
    Bench,
    data::{Data, Kind},
    report::{Report, Run, number},
    services::{Job, Servers},
    turns::{Side, in_turns},
};

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let data = |spread| {
        Data::get(Kind {
            // A record of every line.
            ids: bench.arguments.lines.get(),
            spread,
            ..bench.kind()
        })
    };
    let (dense, spread) = (data(false)?, data(true)?);
    let sides = vec![
        Side::jetline("integer ids, dense", || load(bench, &dense)),
        Side::jetline("integer ids, each far from the next", || {
            load(bench, &spread)
        }),
    ];
    Ok(Report {
        unit: "line",
        conditions: vec![
            format!("{}, into an empty Redis", dense.describe()),
            "Bytes a record: Redis's used_memory, less what it was before; no dataset has text ids"
                .to_owned(),
            bench.services(),
            bench.turns(),
        ],
        cases: in_turns(bench, sides)?,
    })
}

fn load(bench: &Bench, data: &Data) -> anyhow::Result<Run> {
    let servers = Servers::start(bench)?;
    let url = servers.redis.url().to_string();
    let before = used_memory(&url)?;
    let mut run = servers.run(&Job {
        data,
        prefix: "files",
        writers: bench.arguments.writers.get(),
    })?;
    let bytes = used_memory(&url)?.saturating_sub(before);
    let each = number(bytes) / number(data.ids);
    run.figures.insert("bytes a record", each);
    Ok(run)
}

fn used_memory(url: &str) -> anyhow::Result<u64> {
    let output = Command::new(program("redis-cli")?)
        .args(["-u", url, "INFO", "memory"])
        .output()?;
    let answer = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "redis-cli: {answer}");
    parse(&answer).with_context(|| format!("no used_memory in {answer}"))
}

fn parse(info: &str) -> Option<u64> {
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_redis_says() {
        let info = "# Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\n";
        assert_eq!(parse(info), Some(1_048_576));
        assert_eq!(parse("# Memory\r\n"), None);
    }
}
