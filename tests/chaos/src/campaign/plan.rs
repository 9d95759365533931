//! One run, made from a number: what is loaded, by whom, and what goes wrong.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::{
    fault::{Blow, Fault, Kind, Part, Trouble},
    files::{File, Mixture},
    refusal::Refusal,
    step::{Role, Step},
};

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    pub(crate) files: Vec<File>,
    /// Which file is changed while it is read, and what it becomes, where the plan has such a fault.
    pub(crate) changing: Option<Changing>,
    pub(crate) fetchers: usize,
    pub(crate) writers: usize,
    pub(crate) workers: usize,
    pub(crate) chunks_per_commit: usize,
    pub(crate) chunk_bytes: u64,
    pub(crate) part_bytes: u64,
    pub(crate) stream_bytes: i64,
    pub(crate) dedup: bool,
    /// Whether what is left in the stream at the end is delivered before the table is compared.
    pub(crate) drain: bool,
    /// How the table refuses rows, if it does.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) faults: Vec<Fault>,
}

/// How the services run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In this process, between decorators, each in a runtime of its own that a crash takes away.
    InProcess,
    /// As processes.
    Programs,
    /// As one process without servers, whose database is a file.
    Embedded,
}

#[derive(Clone, Debug)]
pub(crate) struct Changing {
    pub(crate) file: usize,
    pub(crate) new: File,
}

/// One in so many runs is of programs.
const PROGRAMS: u64 = 5;

/// Of so many runs of programs, one is embedded.
const EMBEDDED: u64 = 5;

/// In one of so many runs the table refuses rows.
const REFUSING: u64 = 3;

impl Plan {
    /// The run of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mode = if !seed.is_multiple_of(PROGRAMS) {
            Mode::InProcess
        } else if (seed / PROGRAMS).is_multiple_of(EMBEDDED) {
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
            Changing {
                file: 0,
                new: mixture.of_all_ids("changing.jsonl", &mut random),
            }
        });
        // What a changing object had said of a line that is refused, nobody can tell.
        let is_refusing = mode != Mode::Embedded && changing.is_none();
        let refusal = (is_refusing && seed % REFUSING == 1).then(|| refusal_of(seed / REFUSING));
        Self {
            seed,
            mode,
            files,
            changing,
            refusal,
            fetchers: random.random_range(1..=2),
            writers: random.random_range(1..=3).max(least_writers(&faults)),
            workers: random.random_range(1..=3),
            chunks_per_commit: random.random_range(1..=4),
            chunk_bytes: random.random_range(300..4000),
            part_bytes: random.random_range(2000..20_000),
            stream_bytes: if random.random_bool(0.3) {
                30_000
            } else {
                16 << 20
            },
            dedup: random.random_bool(0.85) || faults.iter().copied().any(needs_dedup),
            drain: random.random_bool(0.25),
            faults,
        }
    }
}

fn refusal_of(turn: u64) -> Refusal {
    let all = Refusal::ALL;
    all[usize::try_from(turn).unwrap_or_default() % all.len()]
}

/// Half of the writers are there where at least two are.
fn least_writers(faults: &[Fault]) -> usize {
    let is_split = |fault: &Fault| fault.kind == Kind::Blow(Blow::RedisSplit);
    if faults.iter().any(is_split) { 2 } else { 1 }
}

fn needs_dedup(fault: Fault) -> bool {
    let step = matches!(
        fault.step,
        Step::Claim | Step::BeginStore | Step::ListEpochs | Step::Sweep
    );
    let blow = matches!(
        fault.kind,
        Kind::Blow(
            Blow::RedisFlushed
                | Blow::RedisLost
                | Blow::RedisSnapshot
                | Blow::RedisSplit
                | Blow::Network(_, Part::Redis, _)
        )
    );
    step || blow
}

impl Kind {
    fn changes_an_object(self) -> bool {
        matches!(
            self,
            Self::Blow(Blow::ObjectOverwritten | Blow::ObjectDeleted)
        )
    }
}

/// The next ones of everything that can go wrong, so that runs in a row leave nothing out; and what it takes to get
/// there.
fn faults(seed: u64, mode: Mode, random: &mut StdRng) -> Vec<Fault> {
    let all = everything(mode);
    // Each mode has every seed of its own kind: counted among them, the runs go through everything in turns.
    let turn = match mode {
        Mode::Programs => seed / PROGRAMS - seed / (PROGRAMS * EMBEDDED) - 1,
        Mode::Embedded => seed / (PROGRAMS * EMBEDDED),
        Mode::InProcess => seed - seed / PROGRAMS - 1,
    };
    let each = if mode == Mode::Embedded { 1 } else { 3 };
    let first = usize::try_from(turn).unwrap_or_default().wrapping_mul(each);
    let mut faults = Vec::new();
    for (step, kind) in (first..first + each).map(|n| all[n % all.len()]) {
        faults.push(Fault {
            step,
            nth: nth(step, random),
            kind,
        });
        faults.extend(leads_to(step));
    }
    faults
}

/// Every kind of fault at every step, in an order that is the same in all runs.
fn everything(mode: Mode) -> Vec<(Step, Kind)> {
    if mode == Mode::Embedded {
        let kinds = [Kind::Blow(Blow::DatabaseDiskFull), Kind::CrashBefore];
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
    for (n, blow) in Blow::all().into_iter().enumerate() {
        let is_of_programs = matches!(blow, Blow::Stopped | Blow::ReaderStopped);
        if blow == Blow::DatabaseDiskFull || mode == Mode::InProcess && is_of_programs {
            continue;
        }
        let own = own_places(blow, mode);
        let steps = if own.is_empty() { &places } else { &own };
        all.extend((0..3).map(|more| (steps[(n + more * 5) % steps.len()], Kind::Blow(blow))));
    }
    all.shuffle(&mut StdRng::seed_from_u64(1));
    all
}

fn kinds(step: Step) -> &'static [Kind] {
    match (step, step.is_port()) {
        (Step::Read, _) => &[
            Kind::Error,
            Kind::Delay,
            Kind::CrashBefore,
            Kind::CrashAfter,
        ],
        (Step::Published, _) => &[
            Kind::LostReply,
            Kind::Delay,
            Kind::CrashBefore,
            Kind::CrashAfter,
        ],
        (_, true) => &[
            Kind::Error,
            Kind::LostReply,
            Kind::Delay,
            Kind::Twice,
            Kind::CrashBefore,
            Kind::CrashAfter,
        ],
        (_, false) => &[
            Kind::Error,
            Kind::LostReply,
            Kind::Delay,
            Kind::CrashBefore,
            Kind::CrashAfter,
        ],
    }
}

/// Where the rest of the world breaks: between any two steps that change something.
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
    ];
    let all = steps.into_iter();
    all.filter(|step| mode == Mode::InProcess || !step.is_port())
        .collect()
}

fn own_places(blow: Blow, mode: Mode) -> Vec<Step> {
    let read = match mode {
        Mode::InProcess | Mode::Embedded => Step::Read,
        // The settled watermark is looked up while chunks are published.
        Mode::Programs => Step::Gaps,
    };
    match blow {
        Blow::ObjectOverwritten
        | Blow::ObjectDeleted
        | Blow::S3(_)
        | Blow::Network(_, Part::S3, _) => vec![read],
        // While it holds a lease.
        Blow::ReaderStopped => vec![Step::Gaps, Step::Renew, Step::Finish],
        _ => Vec::new(),
    }
}

/// When it happens: some steps are taken once or twice in a run, others for each chunk.
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
        | Step::CommitChunks => random.random_range(1..=8),
        Step::Loading | Step::Rejects => random.random_range(1..=3),
        _ => 1,
    }
}

/// What else must go wrong for a step to be taken at all.
fn leads_to(step: Step) -> Vec<Fault> {
    let blow = |step, nth, blow| Fault {
        step,
        nth,
        kind: Kind::Blow(blow),
    };
    let again = |step, times: u32, kind| (1..=times).map(move |nth| Fault { step, nth, kind });
    match step {
        Step::Reread | Step::Pending => vec![blow(Step::Admit, 2, Blow::StreamDeleted)],
        Step::Sweep => vec![blow(Step::Admit, 3, Blow::PostgresCrashed)],
        Step::Forget => vec![blow(Step::Check, 3, Blow::RedisFlushed)],
        Step::Renew => vec![blow(
            Step::Gaps,
            1,
            Blow::Network(Role::Fetcher, Part::S3, Trouble::Stalled),
        )],
        Step::Progress => again(Step::Admit, 2, Kind::Delay).collect(),
        Step::Suspect => again(Step::Check, 5, Kind::CrashBefore).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn runs_in_a_row_leave_nothing_out() {
        let planned: HashSet<(Step, Kind)> = (0..600)
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
