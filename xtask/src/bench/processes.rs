//! CPU and memory of processes, as `/proc` tells them.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use jetline_testkit::process::Process;

use crate::signals::Interrupt;

/// How long any piece of work may take: that of ten gigabytes takes minutes.
const PATIENCE: Duration = Duration::from_hours(1);

/// How long a process may take to be gone once it has ended.
const GONE: Duration = Duration::from_secs(30);

/// Between two looks at CPU and memory of everything.
const SAMPLE: Duration = Duration::from_millis(200);

/// Between two looks at the process that is waited for.
const LOOK: Duration = Duration::from_millis(5);

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
    cpu: Duration,
    peak_bytes: u64,
    expected_to_run: bool,
}

impl Processes {
    /// None yet.
    pub(super) fn new(interrupt: &Interrupt) -> Self {
        Self {
            watched: Vec::new(),
            interrupt: interrupt.clone(),
        }
    }

    /// Takes note of a process that runs: what it used before does not count.
    pub(super) fn watch(&mut self, name: &str, pid: u32, scope: Scope) -> anyhow::Result<()> {
        let before = cpu(pid, scope).with_context(|| format!("{name} has ended"))?;
        self.watched.push(Watched {
            name: name.to_owned(),
            pid,
            scope,
            before,
            cpu: before,
            peak_bytes: 0,
            expected_to_run: true,
        });
        Ok(())
    }

    /// Takes note of a process that was just started: all that it used counts.
    pub(super) fn watch_new(&mut self, name: &str, pid: u32) {
        self.watched.push(Watched {
            name: name.to_owned(),
            pid,
            scope: Scope::Alone,
            before: Duration::ZERO,
            cpu: Duration::ZERO,
            peak_bytes: 0,
            expected_to_run: true,
        });
    }

    /// Samples all until one of them has ended that its parent does not wait for yet. Fails when another one ends
    /// before it: it would be waited for in vain.
    pub(super) fn until_ended(&mut self, pid: u32) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut sampled = None::<Instant>;
        while !has_ended(pid) {
            ensure!(begin.elapsed() < PATIENCE, "not done after {PATIENCE:?}");
            if sampled.is_none_or(|at| at.elapsed() >= SAMPLE) {
                self.sample();
                sampled = Some(Instant::now());
                self.interrupt.check()?;
                self.others_run(pid)?;
            }
            thread::sleep(LOOK);
        }
        self.sample();
        for process in self.watched.iter_mut().filter(|process| process.pid == pid) {
            process.expected_to_run = false;
        }
        Ok(())
    }

    /// The same for a process of ours, which is to end well.
    pub(super) fn until_done(&mut self, name: &str, process: &mut Process) -> anyhow::Result<()> {
        self.until_ended(process.id())
            .with_context(|| format!("{name}: {}", end_of_log(process)))?;
        let status = process.wait(GONE)?;
        ensure!(
            status.success(),
            "{name} ended with {status}: {}",
            end_of_log(process)
        );
        Ok(())
    }

    fn others_run(&self, pid: u32) -> anyhow::Result<()> {
        let ended = |process: &&Watched| {
            process.pid != pid && process.expected_to_run && has_ended(process.pid)
        };
        if let Some(process) = self.watched.iter().find(ended) {
            bail!("{} ended in the middle of the work", process.name);
        }
        Ok(())
    }

    fn sample(&mut self) {
        for process in &mut self.watched {
            // A process that was waited for is gone, and its last sample stays.
            if let Some(cpu) = cpu(process.pid, process.scope) {
                process.cpu = process.cpu.max(cpu);
            }
            let bytes = memory(process.pid, process.scope).unwrap_or_default();
            process.peak_bytes = process.peak_bytes.max(bytes);
        }
    }

    /// What each used; of several with the same name, the CPU in all and the peak of the largest.
    pub(super) fn usage(&self) -> BTreeMap<String, Usage> {
        let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
        for process in &self.watched {
            let sum = usage.entry(process.name.clone()).or_default();
            sum.cpu += process.cpu.saturating_sub(process.before);
            sum.peak_bytes = sum.peak_bytes.max(process.peak_bytes);
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

/// A process that has ended stays a zombie, whose CPU can still be read, until its parent waits for it.
fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

fn cpu(pid: u32, scope: Scope) -> Option<Duration> {
    let stat = stat(pid)?;
    if scope == Scope::Alone {
        return Some(time(stat.own));
    }
    let living = children(pid).into_iter().filter_map(self::stat);
    Some(time(
        stat.own + stat.gone_children + living.map(|child| child.own).sum::<u64>(),
    ))
}

/// The kernel keeps these figures ready. Proportional set sizes (`smaps_rollup`) it would count page by page, with the
/// process stopped: ten of PostgreSQL's took a tenth of the machine from what is measured.
fn memory(pid: u32, scope: Scope) -> Option<u64> {
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).ok();
    if scope == Scope::Alone {
        return kilobytes(&status(pid)?, "VmHWM:");
    }
    let (mut own, mut shared) = (0, 0);
    for status in children(pid).into_iter().chain([pid]).filter_map(status) {
        let field = |name| kilobytes(&status, name).unwrap_or_default();
        own += field("RssAnon:");
        shared = shared.max(field("RssShmem:") + field("RssFile:"));
    }
    Some(own + shared)
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    let number: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(number * 1024)
}

fn time(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_millis(ticks * 1000 / per_second.max(1))
}

struct Stat {
    state: char,
    parent: u32,
    /// Clock ticks in user and kernel mode.
    own: u64,
    /// … of children that it has waited for.
    gone_children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields are in proc(5); the program's name, in parentheses, may hold anything.
fn parse_stat(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        gone_children: ticks(13)? + ticks(14)?,
    })
}

/// Process ids of the children that live.
pub(super) fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    #[test]
    fn stat_is_read_whatever_the_program_is_called() {
        let line = "42 (a ) b) S 7 42 42 0 -1 4194560 1 2 0 0 11 12 13 14 20 0 1 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.state, stat.parent), ('S', 7));
        assert_eq!((stat.own, stat.gone_children), (23, 27));
    }

    #[test]
    fn process_is_measured_to_its_end() {
        let mut busy = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"])
            .spawn()
            .unwrap();
        let mut processes = Processes::new(&Interrupt::never());
        processes.watch_new("busy", busy.id());
        processes.until_ended(busy.id()).unwrap();
        let usage = processes.usage()["busy"];
        assert!(usage.cpu >= Duration::from_millis(20), "{:?}", usage.cpu);
        assert!(usage.peak_bytes > 100_000);
        assert!(busy.wait().unwrap().success());
    }

    #[test]
    fn process_that_ends_too_early_is_named() {
        let mut waiting = Command::new("cat")
            .stdin(process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut early = Command::new("true").spawn().unwrap();
        let mut processes = Processes::new(&Interrupt::never());
        processes.watch_new("early", early.id());
        let error = processes.until_ended(waiting.id()).unwrap_err().to_string();
        assert_eq!(error, "early ended in the middle of the work");
        drop(waiting.stdin.take());
        waiting.wait().unwrap();
        early.wait().unwrap();
    }

    #[test]
    fn children_count_with_their_parent() {
        let mut child = Command::new("cat")
            .stdin(process::Stdio::piped())
            .spawn()
            .unwrap();
        assert!(children(process::id()).contains(&child.id()));
        assert!(memory(process::id(), Scope::WithChildren) > Some(0));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
