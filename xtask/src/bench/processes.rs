//! CPU and memory of processes.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use jetline_testkit::process::Process;
use procfs::process::{self, Stat};

use crate::signals::Interrupt;

/// How long any piece of work may take: that of ten gigabytes takes minutes.
const WORK_TIMEOUT: Duration = Duration::from_hours(1);

/// How long a process may take to be gone once it has ended.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two samples of CPU and memory.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// Between two checks whether the process that is waited for has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What belongs to a watched process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// It alone. Memory is its peak resident set.
    Alone,
    /// Its children too, gone ones included. Memory is the peak of the sum of what each has for itself, and of what
    /// they share as the one with the most of it has mapped it.
    WithChildren,
}

/// What a process used from when it was first watched.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) peak_bytes: u64,
}

/// Processes that are watched.
pub(super) struct Processes {
    watched: Vec<Watched>,
    interrupt: Interrupt,
}

struct Watched {
    name: String,
    pid: u32,
    scope: Scope,
    before: Duration,
    used: Usage,
    expected_to_run: bool,
}

impl Processes {
    /// None yet.
    pub(super) fn new(interrupt: &Interrupt) -> Self {
        Self { watched: Vec::new(), interrupt: interrupt.clone() }
    }

    /// Watches a process: what it used before does not count.
    pub(super) fn watch(&mut self, name: &str, pid: u32, scope: Scope) -> anyhow::Result<()> {
        let before = usage(pid, scope);
        self.watched.push(Watched {
            name: name.to_owned(),
            pid,
            scope,
            before: before.with_context(|| format!("{name} has ended"))?.cpu,
            used: Usage::default(),
            expected_to_run: true,
        });
        Ok(())
    }

    /// Samples all until a process has ended, which is to end well. Fails when another one ends before it: the work
    /// would never end.
    pub(super) fn until_done(&mut self, name: &str, process: &mut Process) -> anyhow::Result<()> {
        self.until_ended(process.id())
            .with_context(|| format!("{name}: {}", end_of_log(process)))?;
        let status = process.wait(EXIT_TIMEOUT)?;
        let log = end_of_log(process);
        ensure!(status.success(), "{name} ended with {status}: {log}");
        Ok(())
    }

    fn until_ended(&mut self, pid: u32) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut sampled = None::<Instant>;
        while !has_ended(pid) {
            ensure!(begin.elapsed() < WORK_TIMEOUT, "not done after {WORK_TIMEOUT:?}");
            if sampled.is_none_or(|at| at.elapsed() >= SAMPLE_INTERVAL) {
                self.sample();
                sampled = Some(Instant::now());
                self.interrupt.check()?;
                let mut others = self.watched.iter().filter(|other| other.pid != pid);
                let ended = others.find(|other| other.expected_to_run && has_ended(other.pid));
                if let Some(other) = ended {
                    bail!("{} ended in the middle of the work", other.name);
                }
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.sample();
        for watched in self.watched.iter_mut().filter(|watched| watched.pid == pid) {
            watched.expected_to_run = false;
        }
        Ok(())
    }

    fn sample(&mut self) {
        for process in &mut self.watched {
            // A process that was waited for is gone, and its last sample stays.
            if let Some(usage) = usage(process.pid, process.scope) {
                let used = &mut process.used;
                used.cpu = used.cpu.max(usage.cpu.saturating_sub(process.before));
                used.peak_bytes = used.peak_bytes.max(usage.peak_bytes);
            }
        }
    }

    /// What each used; of several with the same name, the CPU in all and the peak of the largest.
    pub(super) fn usage(&self) -> BTreeMap<String, Usage> {
        let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
        for Watched { name, used, .. } in &self.watched {
            let sum = usage.entry(name.clone()).or_default();
            sum.cpu += used.cpu;
            sum.peak_bytes = sum.peak_bytes.max(used.peak_bytes);
        }
        usage
    }
}

/// The last lines that it wrote.
pub(super) fn end_of_log(process: &Process) -> String {
    let log = process.output();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn open(pid: u32) -> Option<process::Process> {
    process::Process::new(i32::try_from(pid).ok()?).ok()
}

/// A process that has ended stays a zombie, whose CPU can still be read, until its parent waits for it.
fn has_ended(pid: u32) -> bool {
    let stat = open(pid).and_then(|process| process.stat().ok());
    stat.is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

/// What it used since it started.
///
/// The kernel keeps these figures ready. Proportional set sizes (`smaps_rollup`) it would count page by page, with the
/// process stopped: ten of PostgreSQL's took a tenth of the machine from what is measured.
fn usage(pid: u32, scope: Scope) -> Option<Usage> {
    let process = open(pid)?;
    let stat = process.stat().ok()?;
    let mut ticks = 0;
    let mut processes = Vec::new();
    if scope == Scope::WithChildren {
        ticks += u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
        processes.extend(children(pid));
    }
    processes.push((process, stat));
    let (mut own, mut shared, mut peak) = (0, 0, 0);
    for (process, stat) in processes {
        ticks += stat.utime + stat.stime;
        if let Ok(status) = process.status() {
            let mapped = [status.rssshmem, status.rssfile];
            own += status.rssanon.unwrap_or_default();
            shared = shared.max(mapped.into_iter().flatten().sum());
            peak = status.vmhwm.unwrap_or_default();
        }
    }
    let kilobytes = match scope {
        Scope::Alone => peak,
        Scope::WithChildren => own + shared,
    };
    Some(Usage {
        cpu: Duration::from_millis(ticks * 1000 / procfs::ticks_per_second()),
        peak_bytes: kilobytes * 1024,
    })
}

/// The children that live.
fn children(parent: u32) -> impl Iterator<Item = (process::Process, Stat)> {
    let processes = process::all_processes().into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.stat().ok().map(|stat| (process, stat)))
        .filter(move |(_, stat)| u32::try_from(stat.ppid) == Ok(parent))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, "/dev/null".as_ref()).unwrap()
    }

    #[test]
    fn process_is_measured_to_its_end_alone_and_as_a_child() {
        let mut busy = shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
        let mut processes = Processes::new(&Interrupt::default());
        processes.watch("busy", busy.id(), Scope::Alone).unwrap();
        let parent = std::process::id();
        processes.watch("parent", parent, Scope::WithChildren).unwrap();
        processes.until_done("busy", &mut busy).unwrap();
        let usage = processes.usage();
        assert!(usage["busy"].cpu >= Duration::from_millis(20));
        assert!(usage["parent"].cpu >= Duration::from_millis(20));
        assert!(usage["busy"].peak_bytes > 100_000);
    }

    #[test]
    fn process_that_ends_too_early_is_named() {
        let (mut waiting, early) = (shell("sleep 60"), shell("exit 0"));
        let mut processes = Processes::new(&Interrupt::default());
        processes.watch("early", early.id(), Scope::Alone).unwrap();
        let error = processes.until_done("waiting", &mut waiting).unwrap_err();
        assert!(format!("{error:#}").contains("early ended in the middle"), "{error:#}");
    }
}
