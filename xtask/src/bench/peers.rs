//! What a user would pick instead, in turns with Jetline, and whether the rows are the same.

use std::{cell::RefCell, collections::HashSet, path::Path, process::Command};

use anyhow::Context;
use jetline_testkit::{process::Process, programs::target_directory, usage::Scope};

use super::{
    Bench, case,
    cases::{job, load_embedded},
    data::Data,
    postgres::Postgres,
    processes::Processes,
    report::{Outcome, Run, megabytes, number},
    services::Servers,
};
use crate::{generate::Content, install};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// What the scripts need of the Python Package Index.
const PACKAGES: &[&str] =
    &["duckdb==1.5.5", "duckdb-extension-postgres-scanner==1.5.5", "dlt[postgres]==1.31.0"];

/// Another tool: a script that loads the files of a directory into the table `products`.
struct Peer {
    name: &'static str,
    script: &'static str,
    /// After the URL of the database and the directory.
    arguments: &'static [&'static str],
}

const CHANGED: &[&str] = &["WHERE p IS DISTINCT FROM excluded"];

const PEERS: [Peer; 6] = [
    Peer { name: "by hand", script: "by_hand.sh", arguments: &[] },
    Peer { name: "by hand, changed rows", script: "by_hand.sh", arguments: CHANGED },
    Peer { name: "DuckDB", script: "with_duckdb.py", arguments: &[] },
    Peer { name: "DuckDB, changed rows", script: "with_duckdb.py", arguments: CHANGED },
    Peer { name: "dlt", script: "with_dlt.py", arguments: &[] },
    Peer { name: "dlt, the last line of an id", script: "with_dlt.py", arguments: &["last"] },
];

/// What is loaded before the measurement, and in it.
struct Load<'a> {
    name: &'static str,
    before: Option<&'a Data>,
    /// A prefix of its own: the same files are other objects.
    measured: (&'a Data, &'static str),
    /// The rows of Jetline, which is measured first.
    rows: RefCell<Option<HashSet<String>>>,
}

pub(super) fn run(bench: &Bench) -> Outcome {
    let size = bench.arguments.size;
    let first = Data::get(size)?;
    let second = Data::get(Content { changed: Some(1), ..size.into() })?;
    let load = |name, before, measured| Load { name, before, measured, rows: RefCell::default() };
    let loads = [
        load("first load", None, (&first, "first")),
        load("the same content", Some(&first), (&first, "again")),
        load("next day", Some(&first), (&second, "second")),
    ];
    let python = target_directory()?.join("peers/python");
    install::python(&python, PACKAGES)?;
    let embedded = case("first load: jetline --exit", || load_embedded(bench, &first));
    let mut cases = vec![embedded];
    for load in &loads {
        cases.push(case(&format!("{}: jetline", load.name), || load.with_jetline(bench)));
        for peer in &PEERS {
            let name = format!("{}: {}", load.name, peer.name);
            cases.push(case(&name, || load.with_peer(bench, peer, &python)));
        }
    }
    let what = format!("{}; the tables are vacuumed before the last files", first.description);
    bench.measure(what, cases)
}

impl Load<'_> {
    fn with_jetline(&self, bench: &Bench) -> anyhow::Result<Run> {
        let servers = Servers::start(bench)?;
        if let Some(before) = self.before {
            servers.run(&job(bench, before, "before"))?;
            servers.postgres.vacuum()?;
        }
        let (data, prefix) = self.measured;
        let mut run = servers.run(&job(bench, data, prefix))?;
        let rows = servers.postgres.products()?.into_iter().collect();
        self.rows.borrow_mut().get_or_insert(rows);
        run.figures.insert("wrong rows", self.wrong_rows(&servers.postgres)?);
        Ok(run)
    }

    fn with_peer(&self, bench: &Bench, peer: &Peer, python: &Path) -> anyhow::Result<Run> {
        let postgres = Postgres::start(bench.arguments.flush_delay)?;
        if let Some(before) = self.before {
            peer.load(bench, python, &postgres, before)?;
            postgres.vacuum()?;
        }
        let mut run = peer.load(bench, python, &postgres, self.measured.0)?;
        run.figures.insert("wrong rows", self.wrong_rows(&postgres)?);
        Ok(run)
    }

    /// How many rows are other than Jetline's, missing, or there several times.
    fn wrong_rows(&self, postgres: &Postgres) -> anyhow::Result<f64> {
        let rows = postgres.products()?;
        let known = self.rows.borrow();
        let expected =
            known.as_ref().context("Jetline's rows are not known: measure it as well")?;
        let found: HashSet<&String> = rows.iter().filter(|row| expected.contains(*row)).collect();
        let missing = expected.len() - found.len();
        Ok(number(missing.max(rows.len().abs_diff(expected.len())) as u64))
    }
}

impl Peer {
    fn load(
        &self,
        bench: &Bench,
        python: &Path,
        postgres: &Postgres,
        data: &Data,
    ) -> anyhow::Result<Run> {
        let log = tempfile::NamedTempFile::new()?;
        let script = Path::new(SCRIPTS).join(self.script);
        let is_python = script.extension().is_some_and(|extension| extension == "py");
        let program = if is_python { python.join("bin/python") } else { "sh".into() };
        let mut command = Command::new(program);
        command.arg(script).arg(postgres.url()).arg(&data.directory).args(self.arguments);
        postgres.checkpoint()?;
        let wal = postgres.wal()?;
        let mut processes = Processes::new(&bench.interrupt);
        processes.watch("postgres", postgres.pid()?, Scope::WithChildren)?;
        let start = || Process::start(command, log.path());
        let (time, _) = processes.time(self.name, Scope::WithChildren, start)?;
        let wal = megabytes(postgres.wal()? - wal);
        Ok(processes.run(time, Some(data.lines), [("WAL, MB", wal)]))
    }
}
