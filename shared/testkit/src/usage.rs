//! What processes use, from `/proc`.

use std::time::Duration;

use procfs::process::{Process, Stat, all_processes};
use serde::Serialize;

/// What belongs to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It alone.
    Alone,
    /// Its children too, and the CPU time of ended ones.
    WithChildren,
}

/// What a process uses.
///
/// The kernel keeps these values ready. For proportional set sizes (`smaps_rollup`) it stops the process and counts its
/// pages, which took a tenth of the machine from a benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time since its start.
    #[serde(skip)]
    pub cpu: Duration,
    /// Resident memory: the anonymous memory of all processes of the scope, and the shared memory of the one that has most
    /// of it mapped.
    pub memory_bytes: u64,
    /// Its anonymous part.
    pub anonymous_bytes: u64,
    /// The most resident memory so far, if the scope is one process; otherwise `memory_bytes`.
    #[serde(skip)]
    pub peak_bytes: u64,
    pub fds: u64,
    pub threads: u64,
}

impl Usage {
    /// What a process uses. One that has ended, and for which its parent has not waited, has CPU time alone.
    #[must_use]
    pub fn of(pid: u32, scope: Scope) -> Option<Self> {
        let (process, stat) = open(pid)?;
        let mut members = Vec::new();
        let (mut ticks, mut shared, mut peak) = (0, 0, 0);
        if scope == Scope::WithChildren {
            ticks += u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
            members.extend(children(pid));
        }
        members.push((process, stat));
        let mut sum = Self::default();
        for (process, stat) in members {
            ticks += stat.utime + stat.stime;
            let Ok(status) = process.status() else {
                continue;
            };
            let mapped = [status.rssshmem, status.rssfile].into_iter().flatten();
            shared = shared.max(mapped.sum::<u64>() * 1024);
            peak = status.vmhwm.unwrap_or_default() * 1024;
            sum.anonymous_bytes += status.rssanon.unwrap_or_default() * 1024;
            sum.threads += status.threads;
            sum.fds += process.fd_count().unwrap_or_default() as u64;
        }
        sum.cpu = Duration::from_millis(ticks * 1000 / procfs::ticks_per_second());
        sum.memory_bytes = sum.anonymous_bytes + shared;
        sum.peak_bytes = if scope == Scope::Alone { peak } else { sum.memory_bytes };
        Some(sum)
    }
}

/// Whether a process has ended, even if its parent has not waited for it.
#[must_use]
pub fn has_ended(pid: u32) -> bool {
    open(pid).is_none_or(|(_, stat)| matches!(stat.state, 'Z' | 'X'))
}

fn open(pid: u32) -> Option<(Process, Stat)> {
    with_stat(Process::new(i32::try_from(pid).ok()?).ok()?)
}

fn with_stat(process: Process) -> Option<(Process, Stat)> {
    let stat = process.stat().ok()?;
    Some((process, stat))
}

/// The children that have not ended.
fn children(parent: u32) -> impl Iterator<Item = (Process, Stat)> {
    let processes = all_processes().into_iter().flatten().flatten();
    processes.filter_map(with_stat).filter(move |(_, stat)| u32::try_from(stat.ppid) == Ok(parent))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Command, Stdio, id},
    };

    use super::*;

    #[test]
    fn this_process_is_measured() {
        let own = Usage::of(id(), Scope::Alone).unwrap();
        assert!(own.peak_bytes >= own.memory_bytes);
        assert!(own.memory_bytes >= own.anonymous_bytes && own.anonymous_bytes > 100_000);
        assert!(own.fds >= 3 && own.threads >= 1);
        let file = fs::File::open("/proc/self/status").unwrap();
        // Other tests in this process open files too.
        assert!(Usage::of(id(), Scope::Alone).unwrap().fds > 3);
        drop(file);
    }

    #[test]
    fn process_has_ended_before_its_parent_waits() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(!has_ended(child.id()));
        child.kill().unwrap();
        while !has_ended(child.id()) {
            std::thread::yield_now();
        }
        assert_eq!(Usage::of(child.id(), Scope::Alone).unwrap().memory_bytes, 0);
        child.wait().unwrap();
        assert_eq!(Usage::of(child.id(), Scope::Alone), None);
    }

    #[test]
    fn children_count() {
        let mut shell = Command::new("sh");
        let mut parent = shell.args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().unwrap();
        let threads = || Usage::of(parent.id(), Scope::WithChildren).map(|usage| usage.threads);
        while threads() != Some(2) {
            std::thread::yield_now();
        }
        drop(parent.stdin.take());
        parent.wait().unwrap();
    }
}
