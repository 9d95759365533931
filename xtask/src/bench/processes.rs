//! CPU and memory of processes.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use jetline_testkit::{
    process::Process,
    usage::{Scope, Usage, has_ended},
};

use super::report::Run;
use crate::signals::Interrupt;

/// How long any piece of work may take: that of ten gigabytes takes minutes.
const WORK_TIMEOUT: Duration = Duration::from_hours(1);

/// Between two samples of CPU and memory.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// Between two checks whether the process that is waited for has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

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
    /// Since then: the CPU time and the peak of the memory.
    used: Usage,
    is_awaited: bool,
}

impl Processes {
    /// None yet.
    pub(super) fn new(interrupt: &Interrupt) -> Self {
        Self { watched: Vec::new(), interrupt: interrupt.clone() }
    }

    /// Watches a process: what it used before does not count.
    pub(super) fn watch(&mut self, name: &str, pid: u32, scope: Scope) -> anyhow::Result<()> {
        let before = Usage::of(pid, scope);
        self.watched.push(Watched {
            name: name.to_owned(),
            pid,
            scope,
            before: before.with_context(|| format!("{name} has ended"))?.cpu,
            used: Usage::default(),
            is_awaited: false,
        });
        Ok(())
    }

    /// Starts a process and samples all until it has ended, which is to end well; returns how long that took.
    pub(super) fn time(
        &mut self,
        name: &str,
        scope: Scope,
        start: impl FnOnce() -> anyhow::Result<Process>,
    ) -> anyhow::Result<(Duration, Process)> {
        let begin = Instant::now();
        let mut process = start()?;
        self.watch(name, process.id(), scope)?;
        self.until_done(name, &mut process)?;
        Ok((begin.elapsed(), process))
    }

    /// Samples all until a process has ended, which is to end well.
    pub(super) fn until_done(&mut self, name: &str, process: &mut Process) -> anyhow::Result<()> {
        self.until_ended(name, process)?;
        process.ended()
    }

    /// Samples all until a process has ended, with whatever status.
    pub(super) fn until_ended(&mut self, name: &str, process: &Process) -> anyhow::Result<()> {
        let pid = process.id();
        for watched in self.watched.iter_mut().filter(|watched| watched.pid == pid) {
            watched.is_awaited = true;
        }
        self.until(|| has_ended(pid)).with_context(|| format!("{name}: {}", process.end_of_log()))
    }

    /// Samples all until a condition holds. Fails when a process ends that nobody waits for: the work would never end.
    pub(super) fn until(&mut self, is_done: impl Fn() -> bool) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut sampled = None::<Instant>;
        while !is_done() {
            ensure!(begin.elapsed() < WORK_TIMEOUT, "not done after {WORK_TIMEOUT:?}");
            if sampled.is_none_or(|at| at.elapsed() >= SAMPLE_INTERVAL) {
                self.sample();
                sampled = Some(Instant::now());
                self.interrupt.check()?;
                let mut others = self.watched.iter().filter(|watched| !watched.is_awaited);
                if let Some(other) = others.find(|other| has_ended(other.pid)) {
                    bail!("{} ended in the middle of the work", other.name);
                }
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.sample();
        Ok(())
    }

    /// What they used until now; of one that is gone, the last sample stays.
    fn sample(&mut self) {
        for process in &mut self.watched {
            if let Some(usage) = Usage::of(process.pid, process.scope) {
                let used = &mut process.used;
                used.cpu = used.cpu.max(usage.cpu.saturating_sub(process.before));
                used.peak_bytes = used.peak_bytes.max(usage.peak_bytes);
            }
        }
    }

    /// A measurement of them, with other figures.
    pub(super) fn run<const N: usize>(
        &self,
        time: Duration,
        work: Option<u64>,
        figures: [(&'static str, f64); N],
    ) -> Run {
        Run { time, work, figures: figures.into(), processes: self.usage() }
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
    fn process_is_measured_to_its_end() {
        let busy = || Ok(shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"));
        let mut processes = Processes::new(&Interrupt::default());
        processes.time("busy", Scope::Alone, busy).unwrap();
        assert!(processes.usage()["busy"].cpu >= Duration::from_millis(20));
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
