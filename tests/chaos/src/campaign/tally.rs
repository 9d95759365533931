//! The totals of a campaign.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::{Deserialize, Serialize};

use super::{
    fault::{Disruption, Kind},
    plan::Mode,
    refusal::Refusal,
    run::Outcome,
    step::{Role, Step},
    verdict::Verdict,
};

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
        let mut noted = BTreeSet::new();
        for fault in &outcome.fired {
            let counts = self.steps.entry(fault.step.name().to_owned()).or_default();
            *counts.entry(column(fault.kind).to_owned()).or_default() += 1;
            let row = self.row(fault.step, fault.kind, outcome.mode);
            row.fired += 1;
            if noted.insert(name(fault.step, fault.kind, outcome.mode)) {
                row.runs += 1;
                row.add(verdict);
            }
        }
    }

    /// Steps without faults, and disruptions that never happened.
    pub(crate) fn missed(&self) -> Vec<String> {
        let all = Step::ALL.iter().map(|step| step.name());
        let never = all.filter(|name| !self.steps.contains_key(*name));
        let mut missed: Vec<String> = never.map(|name| format!("step {name}")).collect();
        let disruptions = Disruption::all().into_iter().map(Disruption::name);
        let others = disruptions.chain(Refusal::ALL.map(Refusal::name));
        missed.extend(others.filter(|name| self.rows.get(name).is_none_or(|row| row.fired == 0)));
        missed
    }

    /// As Markdown tables.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| fault | how | runs | fired | lines compared | lost | doubled | wrong |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for (name, row) in &self.rows {
            let Row { how, runs, fired, lines, lost, doubled, wrong, .. } = row;
            let _ = writeln!(
                text,
                "| {name} | {how} | {runs} | {fired} | {lines} | {lost} | {doubled} | {wrong} |"
            );
        }
        let columns =
            ["crash before", "crash after", "error", "lost reply", "delay", "repeated", "other"];
        let _ = writeln!(text, "\n| step | by | executed | {} |", columns.join(" | "));
        let _ = writeln!(text, "| --- | --- | ---: |{}", " ---: |".repeat(columns.len()));
        for step in Step::ALL {
            let none = BTreeMap::new();
            let times = self.steps.get(step.name()).unwrap_or(&none);
            let role = match step.role() {
                Role::Fetcher => "fetcher",
                Role::Writer => "writer",
            };
            let taken = self.taken.get(step.name()).unwrap_or(&0);
            let _ = write!(text, "| {step} | {role} | {taken} |");
            for column in columns {
                let _ = write!(text, " {} |", times.get(column).unwrap_or(&0));
            }
            text.push('\n');
        }
        text
    }

    fn row(&mut self, step: Step, kind: Kind, mode: Mode) -> &mut Row {
        let row = self.rows.entry(name(step, kind, mode)).or_default();
        how(step, kind, mode).clone_into(&mut row.how);
        row
    }
}

/// The name of a fault in its table; the other table has its steps.
fn name(step: Step, kind: Kind, mode: Mode) -> String {
    let who = match step.role() {
        Role::Fetcher => "fetcher",
        Role::Writer => "writer",
    };
    match (kind, mode) {
        (Kind::Disruption(disruption), _) => disruption.name(),
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

fn column(kind: Kind) -> &'static str {
    match kind {
        Kind::Error => "error",
        Kind::LostReply => "lost reply",
        Kind::Delay => "delay",
        Kind::Twice => "repeated",
        Kind::CrashBefore => "crash before",
        Kind::CrashAfter => "crash after",
        Kind::Disruption(_) => "other",
    }
}
