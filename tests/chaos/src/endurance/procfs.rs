//! Reads `/proc`.

use std::fs;

use serde::Serialize;

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ProcessSample {
    /// Resident memory, in bytes. For PostgreSQL, the sum of the proportional set sizes of its processes, so that shared
    /// buffers count once.
    pub(super) rss_bytes: u64,
    /// Its anonymous part. For PostgreSQL, that of all its processes.
    pub(super) anonymous_bytes: u64,
    pub(super) fds: u64,
    pub(super) threads: u64,
}

/// A running process; `None` for one that has ended, even if its parent has not waited.
pub(super) fn process(pid: u32) -> Option<ProcessSample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(ProcessSample {
        // A process that has ended has no memory.
        rss_bytes: kilobytes(&status, "VmRSS:")?,
        anonymous_bytes: kilobytes(&status, "RssAnon:")?,
        fds: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
        threads: field(&status, "Threads:")?.parse().ok()?,
    })
}

/// The sum of a process and its children.
pub(super) fn family(pid: u32) -> Option<ProcessSample> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let children = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    let mut sum = proportional(pid)?;
    // Those that end meanwhile are omitted.
    for child in children.filter_map(proportional) {
        sum.rss_bytes += child.rss_bytes;
        sum.anonymous_bytes += child.anonymous_bytes;
        sum.fds += child.fds;
        sum.threads += child.threads;
    }
    Some(sum)
}

fn proportional(pid: u32) -> Option<ProcessSample> {
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(ProcessSample { rss_bytes: kilobytes(&memory, "Pss:")?, ..process(pid)? })
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let number: u64 = field(text, name)?.strip_suffix(" kB")?.parse().ok()?;
    Some(number * 1024)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn this_process_is_measured() {
        let own = process(std::process::id()).unwrap();
        assert!(own.rss_bytes >= own.anonymous_bytes && own.anonymous_bytes > 100_000);
        assert!(own.fds >= 3 && own.threads >= 1);
        let file = fs::File::open("/proc/self/status").unwrap();
        // Other tests in this process open files too.
        assert!(process(std::process::id()).unwrap().fds > 3);
        drop(file);
    }

    #[test]
    fn ended_process_is_none_before_its_parent_waits() {
        let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(process(child.id()).is_some());
        child.kill().unwrap();
        while process(child.id()).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(process(child.id()), None);
    }

    #[test]
    fn children_count() {
        let mut parent = Command::new("sh")
            .args(["-c", "cat; true"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let threads = || family(parent.id()).map(|family| family.threads);
        while threads() != Some(2) {
            std::thread::yield_now();
        }
        drop(parent.stdin.take());
        parent.wait().unwrap();
    }
}
