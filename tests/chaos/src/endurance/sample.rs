//! Samples of the whole installation.

use std::collections::BTreeMap;

use jetline_testkit::usage::Usage;
use serde::Serialize;

use super::{
    ledger::LedgerSample,
    servers::{NatsSample, RedisSample},
};

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    WarmUp,
    /// Idle, before the measured part.
    RestBefore,
    Load,
    Outage,
    Recovery,
    /// Idle, after it.
    RestAfter,
}

/// A sample; a server that is unavailable is missing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    /// Programs and servers, by name.
    pub(super) processes: BTreeMap<String, Usage>,
    pub(super) ledger: Option<LedgerSample>,
    pub(super) nats: Option<NatsSample>,
    pub(super) redis: Option<RedisSample>,
}

/// A sample and its time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Timed {
    pub(super) seconds: f64,
    pub(super) phase: Phase,
    #[serde(flatten)]
    pub(super) sample: Sample,
}

/// A value of a process in the samples of some phases, as (seconds, value).
pub(super) fn points(
    samples: &[Timed],
    phases: &[Phase],
    process: &str,
    value: fn(&Usage) -> u64,
) -> Vec<(f64, f64)> {
    let of_phases = samples.iter().filter(|timed| phases.contains(&timed.phase));
    let points = of_phases.filter_map(|timed| {
        let process = timed.sample.processes.get(process)?;
        Some((timed.seconds, as_f64(value(process))))
    });
    points.collect()
}

/// A count for reports.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_of_one_process_in_the_phases_asked_for() {
        let process = |memory_bytes| Usage { memory_bytes, ..Usage::default() };
        let timed = |seconds, phase, name: &str, memory| Timed {
            seconds,
            phase,
            sample: Sample {
                processes: [(name.to_owned(), process(memory))].into(),
                ledger: None,
                nats: None,
                redis: None,
            },
        };
        let samples = [
            timed(1.0, Phase::WarmUp, "api", 1),
            timed(2.0, Phase::Load, "api", 2),
            timed(3.0, Phase::Load, "fetcher", 3),
            timed(4.0, Phase::Load, "api", 4),
        ];
        let memory = |process: &Usage| process.memory_bytes;
        assert_eq!(points(&samples, &[Phase::Load], "api", memory), [(2.0, 2.0), (4.0, 4.0)]);
    }
}
