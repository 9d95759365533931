//! The totals of a campaign.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::table::table;

use super::{fault::Kind, plan::Mode, run::Outcome, step::Step, verdict::Verdict};

/// How often a fault has to be planned until it is wrong that it never happened: some need a state that not all runs have.
const ENOUGH: u64 = 10;

/// In this many runs every fault is planned several times, and has to happen.
const COMPLETE: u64 = 1000;

/// The totals of some runs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) lines: u64,
    pub(crate) faults: u64,
    /// Runs with a wrong result.
    pub(crate) failures: Vec<Failure>,
    /// Per fault.
    rows: BTreeMap<String, Row>,
    /// Per step, how often a fault was planned.
    planned: BTreeMap<String, u64>,
    /// Per step, how often each fault happened.
    steps: BTreeMap<String, BTreeMap<String, u64>>,
    /// Per step, how often it was executed.
    taken: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) findings: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Row {
    how: String,
    runs: u64,
    planned: u64,
    fired: u64,
    lines: u64,
    lost: u64,
    doubled: u64,
    wrong: u64,
}

impl Row {
    fn add(&mut self, verdict: &Verdict) {
        self.lines += verdict.lines;
        self.lost += verdict.lost;
        self.doubled += verdict.doubled;
        self.wrong += verdict.wrong;
    }
}

impl Tally {
    /// Adds a run.
    pub(crate) fn add(&mut self, seed: u64, outcome: &Outcome) {
        let verdict = &outcome.verdict;
        self.runs += 1;
        self.lines += verdict.lines;
        self.faults += outcome.fired.len() as u64;
        if !verdict.is_good() {
            self.failures.push(Failure { seed, findings: verdict.findings.clone() });
        }
        for (taken, count) in &outcome.steps {
            *self.taken.entry(taken.name().to_owned()).or_default() += u64::from(*count);
        }
        for fault in &outcome.planned {
            *self.planned.entry(fault.step.name().to_owned()).or_default() += 1;
            self.row(fault.step, fault.kind, outcome.mode).planned += 1;
        }
        if let Some(refusal) = outcome.refusal {
            let row = self.rows.entry(refusal.name()).or_default();
            "a rule of the table".clone_into(&mut row.how);
            row.planned += 1;
            row.fired += verdict.refused;
            row.runs += u64::from(verdict.refused > 0);
            row.add(verdict);
        }
        if let Some(name) = outcome.of_datasets {
            let row = self.rows.entry(name.to_owned()).or_default();
            "in the files".clone_into(&mut row.how);
            (row.planned, row.fired, row.runs) = (row.planned + 1, row.fired + 1, row.runs + 1);
            row.add(verdict);
        }
        let mut noted = BTreeSet::new();
        for fault in &outcome.fired {
            let counts = self.steps.entry(fault.step.name().to_owned()).or_default();
            *counts.entry(column(fault.kind)).or_default() += 1;
            let row = self.row(fault.step, fault.kind, outcome.mode);
            row.fired += 1;
            if noted.insert(name(fault.step, fault.kind, outcome.mode)) {
                row.runs += 1;
                row.add(verdict);
            }
        }
    }

    /// The faults, and the steps with faults, that were planned often enough and never happened.
    pub(crate) fn missed(&self) -> Vec<String> {
        let enough = if self.runs < COMPLETE { ENOUGH } else { 1 };
        let steps = self
            .planned
            .iter()
            .filter(|(step, planned)| **planned >= enough && !self.steps.contains_key(*step));
        let rows = self.rows.iter().filter(|(_, row)| row.planned >= enough && row.fired == 0);
        let steps = steps.map(|(step, _)| format!("step {step}"));
        steps.chain(rows.map(|(fault, _)| fault.clone())).collect()
    }

    /// As Markdown tables.
    pub(crate) fn markdown(&self) -> String {
        let faults = self.rows.iter().map(|(name, row)| {
            let Row { how, runs, fired, lines, lost, doubled, wrong, .. } = row;
            let counts = [runs, fired, lines, lost, doubled, wrong].map(u64::to_string);
            [vec![name.clone(), how.clone()], counts.into()].concat()
        });
        let faults = table(
            &["fault", "how", "runs", "fired", "lines compared", "lost", "doubled", "wrong"],
            faults,
        );
        let columns =
            ["crash before", "crash after", "error", "lost reply", "delay", "repeated", "other"];
        let steps = Step::ALL.iter().map(|step| {
            let taken = self.taken.get(step.name()).copied().unwrap_or_default();
            let count = |column| self.steps.get(step.name())?.get(column).copied();
            let counts = columns.map(|column| count(column).unwrap_or_default().to_string());
            let names = [step.name(), step.role().name()].map(str::to_owned);
            [&names[..], &[taken.to_string()], &counts].concat()
        });
        let steps = table(&[&["step", "by", "executed"], &columns[..]].concat(), steps);
        format!(
            "{faults}
{steps}"
        )
    }

    fn row(&mut self, step: Step, kind: Kind, mode: Mode) -> &mut Row {
        let row = self.rows.entry(name(step, kind, mode)).or_default();
        how(step, kind, mode).clone_into(&mut row.how);
        row
    }
}

/// The name of a fault in its table; the other table has its steps.
fn name(step: Step, kind: Kind, mode: Mode) -> String {
    let who = step.role().name();
    match (kind, mode) {
        (Kind::Disruption(_) | Kind::DiskFull, _) => kind.name(),
        (_, Mode::Embedded) => "jetline: SIGKILL".to_owned(),
        (Kind::CrashBefore | Kind::CrashAfter, Mode::Programs) => {
            format!("{who}: SIGKILL at a statement")
        }
        (Kind::CrashBefore | Kind::CrashAfter, Mode::InProcess) => {
            format!("{who}: crash")
        }
        (kind, _) if step.is_port() => format!("{who}: port call, {}", kind.name()),
        (kind, _) => format!("{who}: statement, {}", kind.name()),
    }
}

fn how(step: Step, kind: Kind, mode: Mode) -> &'static str {
    match (kind, mode) {
        (_, Mode::Embedded) => "once its database has a certain size",
        (Kind::Disruption(_), _) => "outside, while a step is held",
        (Kind::CrashBefore | Kind::CrashAfter, Mode::Programs) => {
            "SIGKILL while the statement is held"
        }
        (Kind::CrashBefore | Kind::CrashAfter, Mode::InProcess) => {
            "its runtime is dropped at the step"
        }
        _ if step.is_port() => "decorator around the port",
        (Kind::Error, _) => "connection reset before the statement",
        (Kind::LostReply, _) => "connection reset after the statement",
        _ => "the statement is held",
    }
}

fn column(kind: Kind) -> String {
    if matches!(kind, Kind::Disruption(_) | Kind::DiskFull) {
        "other".to_owned()
    } else {
        kind.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{fault::Fault, plan::Plan};

    #[test]
    fn fault_that_never_happens_is_missed_unless_it_was_planned_rarely() {
        let fault = Plan::of(1, "").faults[0];
        let happens = |happens| Outcome {
            planned: vec![fault],
            fired: if happens { vec![fault] } else { Vec::new() },
            mode: Mode::InProcess,
            refusal: None,
            of_datasets: None,
            verdict: Verdict::default(),
            steps: BTreeMap::new(),
        };
        let mut tally = Tally::default();
        for seed in 1..ENOUGH {
            tally.add(seed, &happens(false));
        }
        assert!(tally.missed().is_empty());
        tally.add(ENOUGH, &happens(false));
        let Fault { step, kind, .. } = fault;
        let expected = [format!("step {}", step.name()), name(step, kind, Mode::InProcess)];
        assert_eq!(tally.missed(), expected);
        tally.add(ENOUGH + 1, &happens(true));
        assert!(tally.missed().is_empty());
    }
}
