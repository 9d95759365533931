//! The plan of one run, generated from a seed: data, instances and faults.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    files::{File, Mixture},
    kinds,
};

use super::{
    disruptions::{self, Disruption, Nats, Network, Postgres, Redis},
    fault::{Fault, Kind},
    refusal::Refusal,
    step::{Role, Step},
};

/// The plan of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) files: Vec<File>,
    /// How many files there are before the declarations change; the others come with the change.
    pub(crate) before_change: usize,
    /// The file that is changed while it is read, and its new content, if the plan has such a fault.
    pub(crate) changing: Option<Changing>,
    pub(crate) fetchers: usize,
    pub(crate) writers: usize,
    /// How many deliver changes; none where no dataset has a destination.
    pub(crate) couriers: usize,
    pub(crate) workers: usize,
    pub(crate) chunks_per_commit: usize,
    pub(crate) chunk_bytes: u64,
    pub(crate) part_bytes: u64,
    pub(crate) stream_bytes: i64,
    pub(crate) dedup: bool,
    /// Whether the rest of the stream is delivered before the table is compared.
    pub(crate) drain: bool,
    /// How the table refuses rows, if it does.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) faults: Vec<Fault>,
}

/// How the services are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In this process, with decorators around the ports, each in a runtime of its own that a crash drops.
    InProcess,
    /// As processes.
    Programs,
    /// As one `jetline` process without servers.
    Embedded,
}

impl Mode {
    /// The steps while a part of an object has been read.
    pub(super) fn steps_of_reading(self) -> &'static [Step] {
        match self {
            Self::InProcess | Self::Embedded => &[Step::Read],
            // The settled watermark is read while chunks are published.
            Self::Programs => &[Step::Gaps],
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Changing {
    pub(crate) file: usize,
    pub(crate) new: File,
}

/// At how many steps a disruption is planned, of the usual ones.
const STEPS: usize = 3;

/// One in this many runs uses programs.
const RUNS_PER_PROGRAMS: u64 = 5;

/// One in this many runs with programs is embedded.
const RUNS_PER_EMBEDDED: u64 = 5;

/// One of this many runs has several declared datasets, unless it is about something else.
const RUNS_PER_DECLARED: u64 = 2;

/// Two of this many runs, of those with PostgreSQL, have files of many ids in large chunks, so that new rows are copied, whatever
/// their faults are.
const RUNS_PER_COPYING: u64 = 7;

/// In one of this many runs the table refuses rows.
const RUNS_PER_REFUSAL: u64 = 3;

impl Plan {
    /// The datasets of the files, without repetitions.
    pub(crate) fn datasets(&self) -> BTreeSet<&'static str> {
        self.files.iter().map(|file| file.dataset).collect()
    }

    /// What the run does with declared datasets, if it has any besides products.
    pub(crate) fn of_datasets(&self) -> Option<&'static str> {
        let is_changed = self.before_change < self.files.len();
        match self.datasets().iter().any(|name| *name != "products") {
            true if is_changed => Some("declarations change while files are loaded"),
            true => Some("several declared datasets"),
            false => None,
        }
    }

    /// Whether a fault has this text in its name.
    pub(crate) fn knows(fault: &str) -> bool {
        let modes = [Mode::InProcess, Mode::Programs, Mode::Embedded].into_iter();
        modes.flat_map(everything).any(|(_, kind)| kind.name().contains(fault))
    }

    /// The run of a seed, with the faults that have a text in their names.
    pub(crate) fn of(seed: u64, fault: &str) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mode = if !seed.is_multiple_of(RUNS_PER_PROGRAMS) {
            Mode::InProcess
        } else if (seed / RUNS_PER_PROGRAMS).is_multiple_of(RUNS_PER_EMBEDDED) {
            Mode::Embedded
        } else {
            Mode::Programs
        };
        let faults = faults(seed, mode, fault, &mut random);
        let is_copying = (mode != Mode::Embedded && seed % RUNS_PER_COPYING < 2)
            || faults.iter().any(|fault| fault.step == Step::Copy);
        let mut mixture = Mixture::random(&mut random);
        if is_copying {
            mixture = mixture.of_many_ids();
        }
        let count = random.random_range(1..=4);
        let mut files: Vec<File> = (0..count).map(|n| mixture.file(n, &mut random)).collect();
        let changing = faults.iter().any(changes_an_object);
        let changing = changing.then(|| {
            files[0].compression = None;
            "changing.jsonl".clone_into(&mut files[0].key);
            if files[0].content.is_empty() {
                files[0] = mixture.of_all_ids("changing.jsonl", &mut random);
            }
            files.push(mixture.of_all_ids("last.jsonl", &mut random));
            Changing { file: 0, new: mixture.of_all_ids("changing.jsonl", &mut random) }
        });
        // With a changing object the expected result of a refused line is unknown.
        let is_refusing = mode != Mode::Embedded && changing.is_none();
        let refusal = (is_refusing && seed % RUNS_PER_REFUSAL == 1)
            .then(|| refusal_of(seed / RUNS_PER_REFUSAL));
        let before_change = files.len();
        let is_declaring = seed.is_multiple_of(RUNS_PER_DECLARED)
            || faults.iter().any(|fault| fault.step == Step::History);
        let (files, before_change) = match changing {
            None if refusal.is_none() && is_declaring => {
                let mut random = StdRng::seed_from_u64(seed.rotate_left(32));
                let changes = mode != Mode::Embedded && random.random_bool(0.5);
                kinds::files(&mixture, changes, &mut random)
            }
            _ => (files, before_change),
        };
        let is_delivering = mode != Mode::Embedded
            && (faults.iter().any(|fault| fault.step.role() == Role::Courier)
                || faults.iter().any(|fault| fault.step == Step::Append)
                || random.random_bool(0.25));
        let mut plan = Self {
            couriers: if is_delivering { random.random_range(1..=3) } else { 0 },
            seed,
            mode,
            files,
            before_change,
            changing,
            refusal,
            fetchers: random.random_range(1..=2),
            writers: random.random_range(1..=3),
            workers: random.random_range(1..=3),
            chunks_per_commit: random.random_range(1..=4),
            chunk_bytes: random.random_range(if is_copying { 12_000..20_000 } else { 300..4000 }),
            part_bytes: random.random_range(2000..20_000),
            stream_bytes: if random.random_bool(0.3) { 30_000 } else { 16 << 20 },
            dedup: random.random_bool(0.85) || faults.iter().any(|fault| fault.step.needs_dedup()),
            drain: random.random_bool(0.25),
            faults,
        };
        for fault in plan.faults.clone() {
            if let Kind::Disruption(disruption) = fault.kind {
                disruption.prepare(&mut plan);
            }
        }
        plan
    }
}

fn refusal_of(index: u64) -> Refusal {
    let all = Refusal::ALL;
    all[usize::try_from(index).unwrap_or_default() % all.len()]
}

fn changes_an_object(fault: &Fault) -> bool {
    matches!(fault.kind, Kind::Disruption(disruption) if disruption.changes_an_object())
}

/// The next faults of the cycle, so that successive runs cover everything, and the faults that they require.
fn faults(seed: u64, mode: Mode, of: &str, random: &mut StdRng) -> Vec<Fault> {
    let mut all = everything(mode);
    all.retain(|(_, kind)| kind.name().contains(of));
    // The runs of each mode are numbered separately, and cycle through all faults.
    let index = match mode {
        Mode::Programs => {
            seed / RUNS_PER_PROGRAMS - seed / (RUNS_PER_PROGRAMS * RUNS_PER_EMBEDDED) - 1
        }
        Mode::Embedded => seed / (RUNS_PER_PROGRAMS * RUNS_PER_EMBEDDED),
        Mode::InProcess => seed - seed / RUNS_PER_PROGRAMS - 1,
    };
    let each = if mode == Mode::Embedded { 1 } else { 3 }.min(all.len());
    let first = usize::try_from(index).unwrap_or_default().wrapping_mul(each);
    let mut faults = Vec::new();
    for (step, kind) in (first..first + each).map(|n| all[n % all.len()]) {
        faults.push(Fault { step, nth: random.random_range(1..=step.max_nth()), kind });
        faults.extend(leads_to(step));
    }
    faults
}

/// Every kind of fault at every step, in a fixed order.
fn everything(mode: Mode) -> Vec<(Step, Kind)> {
    if mode == Mode::Embedded {
        return [Kind::DiskFull, Kind::CrashBefore].map(|kind| (Step::CommitChunks, kind)).into();
    }
    let mut all = Vec::new();
    for step in Step::ALL.iter().copied() {
        if mode == Mode::Programs && step.is_port() {
            continue;
        }
        all.extend(kinds(step).iter().map(|kind| (step, *kind)));
    }
    let usual = usual_steps(mode);
    for (n, disruption) in disruptions::all().into_iter().enumerate() {
        if mode == Mode::InProcess && disruption.is_of_programs() {
            continue;
        }
        let mut steps = disruption.steps(mode).to_vec();
        if steps.is_empty() {
            steps = (0..STEPS).map(|more| usual[(n + more * 5) % usual.len()]).collect();
        }
        let steps = steps.iter().cycle().take(steps.len().max(STEPS));
        all.extend(steps.map(|step| (*step, Kind::Disruption(disruption))));
    }
    all.shuffle(&mut StdRng::seed_from_u64(1));
    all
}

fn kinds(step: Step) -> &'static [Kind] {
    match (step, step.is_port()) {
        (Step::Read, _) => &[Kind::Error, Kind::Delay, Kind::CrashBefore, Kind::CrashAfter],
        (Step::Published, _) => {
            &[Kind::LostReply, Kind::Delay, Kind::CrashBefore, Kind::CrashAfter]
        }
        (_, true) => &[
            Kind::Error,
            Kind::LostReply,
            Kind::Delay,
            Kind::Twice,
            Kind::CrashBefore,
            Kind::CrashAfter,
        ],
        (_, false) => {
            &[Kind::Error, Kind::LostReply, Kind::Delay, Kind::CrashBefore, Kind::CrashAfter]
        }
    }
}

/// The steps at which disruptions happen: between any two steps that change something.
fn usual_steps(mode: Mode) -> Vec<Step> {
    let steps = [
        Step::Receive,
        Step::Admit,
        Step::Claim,
        Step::Check,
        Step::Copy,
        Step::Rows,
        Step::Entries,
        Step::CommitChunks,
        Step::Ack,
        Step::Publish,
        Step::Finish,
        Step::Done,
        Step::CommitLeases,
        Step::WriteOutcomes,
    ];
    let all = steps.into_iter();
    all.filter(|step| mode == Mode::InProcess || !step.is_port()).collect()
}

/// The faults without which a step is not executed.
fn leads_to(step: Step) -> Vec<Fault> {
    let disruption = |step, nth, disruption: &'static dyn Disruption| {
        vec![Fault { step, nth, kind: Kind::Disruption(disruption) }]
    };
    let again = |step, times: u32, kind| (1..=times).map(move |nth| Fault { step, nth, kind });
    match step {
        Step::Reread | Step::Pending => disruption(Step::Admit, 2, &Nats::StreamDeleted),
        Step::Sweep => disruption(Step::Admit, 3, &Postgres::Crashed),
        Step::Forget => disruption(Step::Check, 3, &Redis::Flushed),
        Step::Renew => disruption(Step::Gaps, 1, Network::S3_STALLED),
        Step::Progress => again(Step::Admit, 2, Kind::Delay).collect(),
        // Each of up to six workers has a chunk of its own, and has to crash four times with the same one.
        Step::Suspect => again(Step::Check, 12, Kind::CrashBefore).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn runs_have_every_kind_of_dataset_and_declarations_that_change() {
        let plans: Vec<Plan> = (0..600).map(|seed| Plan::of(seed, "")).collect();
        let has = |what: &str| plans.iter().filter(|plan| plan.of_datasets() == Some(what)).count();
        assert!(has("several declared datasets") > 60);
        assert!(has("declarations change while files are loaded") > 60);
        let files = plans.iter().flat_map(|plan| &plan.files);
        let kinds: HashSet<String> =
            files.map(|file| format!("{} {:?}", file.dataset, file.format)).collect();
        assert_eq!(kinds.len(), 8, "{kinds:?}");
    }

    #[test]
    fn every_disruption_is_planned() {
        let planned: HashSet<(Step, Kind)> =
            [Mode::InProcess, Mode::Programs].into_iter().flat_map(everything).collect();
        for disruption in disruptions::all() {
            let kind = Kind::Disruption(disruption);
            assert!(planned.iter().any(|(_, planned)| *planned == kind), "{disruption:?}");
            for mode in [Mode::InProcess, Mode::Programs] {
                let is_taken = |step: &Step| mode == Mode::InProcess || !step.is_port();
                for step in disruption.steps(mode) {
                    assert!(is_taken(step) && planned.contains(&(*step, kind)), "{disruption:?}");
                }
            }
        }
    }

    #[test]
    fn successive_runs_cover_all_faults() {
        let planned: HashSet<(Step, Kind)> = (0..1000)
            .flat_map(|seed| Plan::of(seed, "").faults)
            .map(|fault| (fault.step, fault.kind))
            .collect();
        for mode in [Mode::InProcess, Mode::Programs, Mode::Embedded] {
            for fault in everything(mode) {
                assert!(planned.contains(&fault), "{fault:?}");
            }
        }
    }
}
