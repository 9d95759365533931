//! What a user would pick instead, in turns with Jetline, and whether the rows are the same.

use std::{
    cell::RefCell, collections::HashSet, env, fs, path::PathBuf, process::Command, time::Instant,
};

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
use crate::{generate, install};

/// Another tool: a script that loads the files of a directory into the table `products`.
struct Peer {
    name: &'static str,
    /// The name of the file and its text.
    script: (&'static str, &'static str),
    /// After the URL of the database and the directory.
    arguments: &'static [&'static str],
    /// From the Python Package Index.
    packages: &'static [&'static str],
}

const BY_HAND: (&str, &str) = ("by_hand.sh", include_str!("../../peers/by_hand.sh"));
const DUCKDB: (&str, &str) = ("with_duckdb.py", include_str!("../../peers/with_duckdb.py"));
const DUCKDB_PACKAGES: &[&str] = &["duckdb==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"];
const DLT: (&str, &str) = ("with_dlt.py", include_str!("../../peers/with_dlt.py"));
const DLT_PACKAGES: &[&str] = &["dlt[postgres]==1.31.0"];
const CHANGED: &[&str] = &["WHERE p IS DISTINCT FROM excluded"];

const PEERS: &[Peer] = &[
    Peer { name: "by hand", script: BY_HAND, arguments: &[], packages: &[] },
    Peer { name: "by hand, changed rows", script: BY_HAND, arguments: CHANGED, packages: &[] },
    Peer { name: "DuckDB", script: DUCKDB, arguments: &[], packages: DUCKDB_PACKAGES },
    Peer {
        name: "DuckDB, changed rows",
        script: DUCKDB,
        arguments: CHANGED,
        packages: DUCKDB_PACKAGES,
    },
    Peer { name: "dlt", script: DLT, arguments: &[], packages: DLT_PACKAGES },
    Peer {
        name: "dlt, the last line of an id",
        script: DLT,
        arguments: &["last"],
        packages: DLT_PACKAGES,
    },
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
    let first = Data::get(&bench.lines())?;
    let second = Data::get(&generate::Arguments { changed: Some(1), ..bench.lines() })?;
    let load = |name, before, measured| Load { name, before, measured, rows: RefCell::default() };
    let loads = [
        load("first load", None, (&first, "first")),
        load("the same content", Some(&first), (&first, "again")),
        load("next day", Some(&first), (&second, "second")),
    ];
    let commands = PEERS.iter().map(Peer::prepare).collect::<anyhow::Result<Vec<_>>>()?;
    let embedded = case("first load: jetline --exit", || load_embedded(bench, &first));
    let mut cases = vec![embedded];
    for load in &loads {
        cases.push(case(&format!("{}: jetline", load.name), || load.with_jetline(bench)));
        for (peer, command) in PEERS.iter().zip(&commands) {
            let name = format!("{}: {}", load.name, peer.name);
            cases.push(case(&name, || load.with_peer(bench, peer, command)));
        }
    }
    let what = format!("{}; the tables are vacuumed before the last files", first.description);
    Ok((what, bench.measure(cases)?))
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

    fn with_peer(&self, bench: &Bench, peer: &Peer, command: &[PathBuf]) -> anyhow::Result<Run> {
        let postgres = Postgres::start(bench.arguments.flush_delay)?;
        if let Some(before) = self.before {
            peer.load(bench, command, &postgres, before)?;
            postgres.vacuum()?;
        }
        let mut run = peer.load(bench, command, &postgres, self.measured.0)?;
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
    /// Installs it in the target directory; returns its command.
    fn prepare(&self) -> anyhow::Result<Vec<PathBuf>> {
        let directory = target_directory()?.join("peers");
        let python = directory.join("python");
        fs::create_dir_all(&directory)?;
        let (name, text) = self.script;
        let script = directory.join(name);
        fs::write(&script, text)?;
        if !self.packages.is_empty() {
            install::python(&python, self.packages)?;
        }
        let is_python = script.extension().is_some_and(|extension| extension == "py");
        Ok(vec![if is_python { python.join("bin/python") } else { "sh".into() }, script])
    }

    fn load(
        &self,
        bench: &Bench,
        command: &[PathBuf],
        postgres: &Postgres,
        data: &Data,
    ) -> anyhow::Result<Run> {
        let (program, script) = command.split_first().context("no command")?;
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(program);
        command.args(script).arg(postgres.url()).arg(&data.directory).args(self.arguments);
        let mut path = vec![target_directory()?.join("peers/python/bin")];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        command.env("PATH", env::join_paths(path)?);
        postgres.checkpoint()?;
        let wal = postgres.wal()?;
        let mut processes = Processes::new(&bench.interrupt);
        processes.watch("postgres", postgres.pid()?, Scope::WithChildren)?;
        let begin = Instant::now();
        let mut process = Process::start(command, log.path())?;
        processes.watch(self.name, process.id(), Scope::WithChildren)?;
        processes.until_done(self.name, &mut process)?;
        let time = begin.elapsed();
        let figures = [("WAL, MB", megabytes(postgres.wal()? - wal))];
        let processes = processes.usage();
        Ok(Run { time, work: Some(data.lines), figures: figures.into(), processes })
    }
}
