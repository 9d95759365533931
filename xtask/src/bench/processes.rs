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

use crate::signals::Interrupt;

/// How long any piece of work may take: that of ten gigabytes takes minutes.
pub(super) const WORK_TIMEOUT: Duration = Duration::from_hours(1);

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
    expected_to_run: bool,
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
            expected_to_run: true,
        });
        Ok(())
    }

    /// Samples all until a process has ended, which is to end well. Fails when another one ends before it: the work
    /// would never end.
    pub(super) fn until_done(&mut self, name: &str, process: &mut Process) -> anyhow::Result<()> {
        self.until_ended(process.id())
            .with_context(|| format!("{name}: {}", process.end_of_log()))?;
        process.ended()
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

    /// What they used until now; of one that is gone, the last sample stays.
    pub(super) fn sample(&mut self) {
        for process in &mut self.watched {
            if let Some(usage) = Usage::of(process.pid, process.scope) {
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
