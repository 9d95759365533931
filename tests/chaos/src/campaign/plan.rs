//! The plan of one run, generated from a seed: data, instances and faults.

use std::collections::BTreeSet;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    files::{File, Mixture},
    kinds,
};

use super::{
    fault::{Disruption, Fault, Kind, NetworkFault, Part},
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

#[derive(Clone, Debug)]
pub(crate) struct Changing {
    pub(crate) file: usize,
    pub(crate) new: File,
}

/// One in this many runs uses programs.
const RUNS_PER_PROGRAMS: u64 = 5;

/// One in this many runs with programs is embedded.
const RUNS_PER_EMBEDDED: u64 = 5;

/// One of this many runs has several declared datasets, unless it is about something else.
const RUNS_PER_DECLARED: u64 = 2;

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

    /// The run of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mode = if !seed.is_multiple_of(RUNS_PER_PROGRAMS) {
            Mode::InProcess
        } else if (seed / RUNS_PER_PROGRAMS).is_multiple_of(RUNS_PER_EMBEDDED) {
            Mode::Embedded
        } else {
            Mode::Programs
        };
        let faults = faults(seed, mode, &mut random);
        let mixture = Mixture::random(&mut random);
        let count = random.random_range(1..=4);
        let mut files: Vec<File> = (0..count).map(|n| mixture.file(n, &mut random)).collect();
        let changing = faults.iter().any(|fault| fault.kind.changes_an_object());
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
        Self {
            couriers: if is_delivering { random.random_range(1..=3) } else { 0 },
            seed,
            mode,
            files,
            before_change,
            changing,
            refusal,
            fetchers: random.random_range(1..=2),
            writers: random.random_range(1..=3).max(least_writers(&faults)),
            workers: random.random_range(1..=3),
            chunks_per_commit: random.random_range(1..=4),
            chunk_bytes: random.random_range(300..4000),
            part_bytes: random.random_range(2000..20_000),
            stream_bytes: if random.random_bool(0.3) { 30_000 } else { 16 << 20 },
            dedup: random.random_bool(0.85) || faults.iter().copied().any(needs_dedup),
            drain: random.random_bool(0.25),
            faults,
        }
    }
}

fn refusal_of(index: u64) -> Refusal {
    let all = Refusal::ALL;
    all[usize::try_from(index).unwrap_or_default() % all.len()]
}

/// A split needs at least two writers.
fn least_writers(faults: &[Fault]) -> usize {
    let is_split = |fault: &Fault| fault.kind == Kind::Disruption(Disruption::RedisSplit);
    if faults.iter().any(is_split) { 2 } else { 1 }
}

fn needs_dedup(fault: Fault) -> bool {
    let step =
        matches!(fault.step, Step::Claim | Step::BeginStore | Step::ListEpochs | Step::Sweep);
    let disruption = matches!(
        fault.kind,
        Kind::Disruption(
            Disruption::RedisFlushed
                | Disruption::RedisLost
                | Disruption::RedisSnapshot
                | Disruption::RedisSplit
                | Disruption::Network(_, Part::Redis, _)
        )
    );
    step || disruption
}

impl Kind {
    fn changes_an_object(self) -> bool {
        matches!(self, Self::Disruption(Disruption::ObjectOverwritten | Disruption::ObjectDeleted))
    }
}

/// The next faults of the cycle, so that successive runs cover everything, and the faults that they require.
fn faults(seed: u64, mode: Mode, random: &mut StdRng) -> Vec<Fault> {
    let all = everything(mode);
    // The runs of each mode are numbered separately, and cycle through all faults.
    let index = match mode {
        Mode::Programs => {
            seed / RUNS_PER_PROGRAMS - seed / (RUNS_PER_PROGRAMS * RUNS_PER_EMBEDDED) - 1
        }
        Mode::Embedded => seed / (RUNS_PER_PROGRAMS * RUNS_PER_EMBEDDED),
        Mode::InProcess => seed - seed / RUNS_PER_PROGRAMS - 1,
    };
    let each = if mode == Mode::Embedded { 1 } else { 3 };
    let first = usize::try_from(index).unwrap_or_default().wrapping_mul(each);
    let mut faults = Vec::new();
    for (step, kind) in (first..first + each).map(|n| all[n % all.len()]) {
        faults.push(Fault { step, nth: nth(step, random), kind });
        faults.extend(leads_to(step));
    }
    faults
}

/// Every kind of fault at every step, in a fixed order.
fn everything(mode: Mode) -> Vec<(Step, Kind)> {
    if mode == Mode::Embedded {
        let kinds = [Kind::Disruption(Disruption::DatabaseDiskFull), Kind::CrashBefore];
        return kinds.map(|kind| (Step::CommitChunks, kind)).into();
    }
    let mut all = Vec::new();
    for step in Step::ALL.iter().copied() {
        if mode == Mode::Programs && step.is_port() {
            continue;
        }
        all.extend(kinds(step).iter().map(|kind| (step, *kind)));
    }
    let places = places(mode);
    for (n, disruption) in Disruption::all().into_iter().enumerate() {
        let is_of_programs = matches!(disruption, Disruption::Stopped | Disruption::ReaderStopped);
        if disruption == Disruption::DatabaseDiskFull || mode == Mode::InProcess && is_of_programs {
            continue;
        }
        let own = own_places(disruption, mode);
        let steps = if own.is_empty() { &places } else { &own };
        all.extend(
            (0..3).map(|more| (steps[(n + more * 5) % steps.len()], Kind::Disruption(disruption))),
        );
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
fn places(mode: Mode) -> Vec<Step> {
    let steps = [
        Step::Receive,
        Step::Admit,
        Step::Claim,
        Step::Check,
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

fn own_places(disruption: Disruption, mode: Mode) -> Vec<Step> {
    let read = match mode {
        Mode::InProcess | Mode::Embedded => Step::Read,
        // The settled watermark is read while chunks are published.
        Mode::Programs => Step::Gaps,
    };
    match disruption {
        Disruption::ObjectOverwritten
        | Disruption::ObjectDeleted
        | Disruption::S3(_)
        | Disruption::Network(_, Part::S3, _) => vec![read],
        // A courier that continues after its lease has expired may send an older content, which only its receiver can tell.
        Disruption::Stopped => {
            vec![Step::Admit, Step::Check, Step::Rows, Step::Entries, Step::CommitChunks]
        }
        Disruption::Network(Role::Courier, _, _) => {
            vec![Step::FindDue, Step::WriteLeases, Step::WriteOutcomes]
        }
        // While it holds a lease.
        Disruption::ReaderStopped => vec![Step::Gaps, Step::Renew, Step::Finish],
        _ => Vec::new(),
    }
}

/// At which execution it happens: some steps are executed once or twice in a run, others for each chunk.
fn nth(step: Step, random: &mut StdRng) -> u32 {
    match step {
        Step::Read | Step::Publish | Step::Published | Step::Ack => random.random_range(1..=20),
        Step::Receive
        | Step::Admit
        | Step::Claim
        | Step::Check
        | Step::Known
        | Step::Look
        | Step::Rows
        | Step::Entries
        | Step::CommitChunks
        | Step::History
        | Step::Append
        | Step::Send => random.random_range(1..=8),
        Step::Loading
        | Step::Rejects
        | Step::TakeChanges
        | Step::FoldChanges
        | Step::CommitFold
        | Step::FindDue
        | Step::WriteLeases
        | Step::CommitLeases
        | Step::WriteOutcomes
        | Step::CommitOutcomes => random.random_range(1..=3),
        _ => 1,
    }
}

/// The faults without which a step is not executed.
fn leads_to(step: Step) -> Vec<Fault> {
    let disruption =
        |step, nth, disruption| Fault { step, nth, kind: Kind::Disruption(disruption) };
    let again = |step, times: u32, kind| (1..=times).map(move |nth| Fault { step, nth, kind });
    match step {
        Step::Reread | Step::Pending => vec![disruption(Step::Admit, 2, Disruption::StreamDeleted)],
        Step::Sweep => vec![disruption(Step::Admit, 3, Disruption::PostgresCrashed)],
        Step::Forget => vec![disruption(Step::Check, 3, Disruption::RedisFlushed)],
        Step::Renew => vec![disruption(
            Step::Gaps,
            1,
            Disruption::Network(Role::Fetcher, Part::S3, NetworkFault::Stalled),
        )],
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
        let plans: Vec<Plan> = (0..600).map(Plan::of).collect();
        let has = |what: &str| plans.iter().filter(|plan| plan.of_datasets() == Some(what)).count();
        assert!(has("several declared datasets") > 60);
        assert!(has("declarations change while files are loaded") > 60);
        let files = plans.iter().flat_map(|plan| &plan.files);
        let kinds: HashSet<String> =
            files.map(|file| format!("{} {:?}", file.dataset, file.format)).collect();
        assert_eq!(kinds.len(), 8, "{kinds:?}");
    }

    #[test]
    fn successive_runs_cover_all_faults() {
        let planned: HashSet<(Step, Kind)> = (0..1000)
            .flat_map(|seed| Plan::of(seed).faults)
            .map(|fault| (fault.step, fault.kind))
            .collect();
        for mode in [Mode::InProcess, Mode::Programs, Mode::Embedded] {
            for fault in everything(mode) {
                assert!(planned.contains(&fault), "{fault:?}");
            }
        }
    }
}
