//! What a user would pick instead, in turns with Jetline, and whether the rows are the same.

use std::{cell::RefCell, path::PathBuf, process::Command, time::Instant};

use anyhow::{Context, ensure};
use jetline_testkit::{process::Process, programs::target_directory, usage::Scope};

use super::{
    Bench, case,
    cases::job,
    data::Data,
    postgres::Postgres,
    processes::Processes,
    report::{Outcome, Run, megabytes},
    services::Servers,
};
use crate::{generate, install};

/// Another tool: a program that loads the files of a directory into the table `products`.
struct Peer {
    name: &'static str,
    program: Program,
    /// After the URL of the database and the directory.
    arguments: &'static [&'static str],
}

enum Program {
    Shell(&'static str),
    /// With its packages of the Python Package Index.
    Python(&'static str, &'static [&'static str]),
}

const PEERS: &[Peer] = &[
    Peer {
        name: "by hand",
        program: Program::Shell(include_str!("../../peers/by-hand.sh")),
        arguments: &[],
    },
    Peer {
        name: "by hand, changed rows only",
        program: Program::Shell(include_str!("../../peers/by-hand.sh")),
        arguments: &["WHERE p IS DISTINCT FROM excluded"],
    },
    Peer {
        name: "DuckDB",
        program: Program::Python(
            include_str!("../../peers/duckdb.py"),
            &["duckdb==1.5.5", "duckdb-extension-postgres-scanner==1.5.5"],
        ),
        arguments: &[],
    },
];

/// What is loaded before the measurement, and in it.
struct Load<'a> {
    name: &'static str,
    before: Option<&'a Data>,
    /// A prefix of its own: the same files are other objects.
    measured: (&'a Data, &'static str),
    /// A sum over the rows, of the first tool that loaded them.
    rows: RefCell<Option<String>>,
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
    let mut cases = Vec::new();
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
        let run = servers.run(&job(bench, data, prefix))?;
        self.check(&servers.postgres)?;
        Ok(run)
    }

    fn with_peer(&self, bench: &Bench, peer: &Peer, command: &[PathBuf]) -> anyhow::Result<Run> {
        let postgres = Postgres::start(bench.arguments.flush_delay)?;
        if let Some(before) = self.before {
            peer.load(bench, command, &postgres, before)?;
            postgres.vacuum()?;
        }
        let run = peer.load(bench, command, &postgres, self.measured.0)?;
        self.check(&postgres)?;
        Ok(run)
    }

    /// All tools have to end with the same rows.
    fn check(&self, postgres: &Postgres) -> anyhow::Result<()> {
        let rows = postgres.sum_of_products()?;
        let mut known = self.rows.borrow_mut();
        let expected = known.get_or_insert_with(|| rows.clone());
        ensure!(rows == *expected, "other rows than Jetline: {rows} instead of {expected}");
        Ok(())
    }
}

impl Peer {
    /// Installs it in the target directory; returns its command.
    fn prepare(&self) -> anyhow::Result<Vec<PathBuf>> {
        let directory = target_directory()?.join("peers");
        std::fs::create_dir_all(&directory)?;
        let name = self.name.to_lowercase().replace(|one: char| !one.is_ascii_alphanumeric(), "-");
        let write = |extension, text| {
            // A Python module of this name would be imported instead of the package.
            let file = directory.join(format!("load-{name}")).with_extension(extension);
            std::fs::write(&file, text).map(|()| file)
        };
        Ok(match self.program {
            Program::Shell(text) => vec!["sh".into(), write("sh", text)?],
            Program::Python(text, packages) => {
                let python = install::python(&directory.join("python"), packages)?;
                vec![python, write("py", text)?]
            }
        })
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
        postgres.checkpoint()?;
        let wal = postgres.wal()?;
        let mut processes = Processes::new(&bench.interrupt);
        processes.watch("postgres", postgres.pid()?, Scope::WithChildren)?;
        let begin = Instant::now();
        let mut process = Process::start(command, log.path())?;
        processes.watch(self.name, process.id(), Scope::WithChildren)?;
        processes.until_done(self.name, &mut process)?;
        let time = begin.elapsed();
        postgres.check_rows("products", data.ids)?;
        let figures = [("WAL, MB", megabytes(postgres.wal()? - wal))];
        let processes = processes.usage();
        Ok(Run { time, work: Some(data.lines), figures: figures.into(), processes })
    }
}
