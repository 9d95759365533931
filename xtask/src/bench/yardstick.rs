//! The yardstick: what somebody would write by hand to get the files into PostgreSQL, as fast as psql does it.
//!
//! The lines are copied as text into a temporary table, and merged into the products by one statement: the last line
//! of an id wins. It checks nothing, keeps no bad line, and starts over after a failure.

use std::{fmt::Write, fs, path::Path, time::Instant};

use anyhow::{Context, ensure};
use jetline_testkit::process::Process;

use super::{
    data::Data,
    postgres::Postgres,
    processes::{Processes, Scope},
    report::{Run, WAL, megabytes},
};
use crate::signals::Interrupt;

/// Neither character can stand in JSON unescaped, so every line is one field, backslashes and quotes as they are.
const FORMAT: &str = r"FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02'";

const PREPARE: &str = "\
CREATE TABLE IF NOT EXISTS products (id bigint PRIMARY KEY, title text NOT NULL, price numeric NOT NULL, \
category text NOT NULL, brand text NOT NULL, url text NOT NULL, description text NOT NULL);
";

/// `work_mem` is the one setting that a person would raise for the sort.
const MERGE: &str = "\
SET work_mem = '256MB';
INSERT INTO products
SELECT DISTINCT ON (product.id) product.*
FROM raw, jsonb_to_record(raw.line::jsonb) AS product
    (id bigint, title text, price numeric, category text, brand text, url text, description text)
ORDER BY product.id, raw.number DESC
ON CONFLICT (id) DO UPDATE SET title = excluded.title, price = excluded.price, category = excluded.category,
    brand = excluded.brand, url = excluded.url, description = excluded.description;
";

/// For the conditions of a report.
pub(super) const DESCRIPTION: &str = "psql: COPY of the lines into a temporary table, \
    one INSERT … SELECT DISTINCT ON … ON CONFLICT DO UPDATE";

/// Loads files into a fresh server; measures the last of them, if there are several.
pub(super) fn load(days: &[&Data], interrupt: &Interrupt) -> anyhow::Result<Run> {
    let directory = tempfile::tempdir()?;
    let postgres = Postgres::start()?;
    let prepare = directory.path().join("prepare.sql");
    fs::write(&prepare, PREPARE)?;
    let status = postgres
        .psql(&prepare)?
        .status()
        .context("cannot run psql")?;
    ensure!(status.success(), "psql ended with {status}");

    let (last, before) = days.split_last().context("no data")?;
    for data in before {
        day(&postgres, data, directory.path(), interrupt)?;
        postgres.vacuum()?;
    }
    day(&postgres, last, directory.path(), interrupt)
}

fn day(
    postgres: &Postgres,
    data: &Data,
    directory: &Path,
    interrupt: &Interrupt,
) -> anyhow::Result<Run> {
    let load = directory.join("load.sql");
    fs::write(&load, script(data)?)?;
    postgres.settle()?;
    let wal = postgres.wal()?;

    let mut processes = Processes::new(interrupt);
    processes.watch("postgres", postgres.pid()?, Scope::WithChildren)?;
    let begin = Instant::now();
    let mut psql = Process::start(postgres.psql(&load)?, &directory.join("log"))?;
    processes.watch_new("psql", psql.id());
    processes.until_done("psql", &mut psql)?;
    let time = begin.elapsed();

    postgres.check_products(data.ids)?;
    Ok(Run {
        time,
        work: Some(data.lines),
        figures: [(WAL, megabytes(postgres.wal()? - wal))].into(),
        processes: processes.usage(),
    })
}

fn script(data: &Data) -> anyhow::Result<String> {
    let mut script =
        "CREATE TEMPORARY TABLE raw (number bigint GENERATED ALWAYS AS IDENTITY, line text);\n"
            .to_owned();
    for file in data.files()? {
        writeln!(
            script,
            "\\copy raw (line) FROM '{}' WITH ({FORMAT})",
            quoted(&file)?
        )?;
    }
    script.push_str(MERGE);
    Ok(script)
}

fn quoted(path: &Path) -> anyhow::Result<String> {
    let path = path.to_str().context("the path of the data is not UTF-8")?;
    Ok(path.replace('\'', "''"))
}
