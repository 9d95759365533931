//! Random schedules of sizes that cannot be visited completely. A seed repeats each exactly.

use std::{
    mem::{self, discriminant},
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    Action, Mode, Rules, System,
    input::{Content, Fault, File, Line, Scenario},
};

const FAULTS: [Fault; 12] = [
    Fault::Crash,
    Fault::Redeliver,
    Fault::LoseStream,
    Fault::Flush,
    Fault::Restart,
    Fault::FailOver,
    Fault::Restore,
    Fault::CrashInBegin,
    Fault::Suspect,
    Fault::Dead,
    Fault::Vanish,
    Fault::Replay,
];

/// A schedule that ended wrong.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// Why.
    pub why: String,
    /// The steps.
    pub steps: Vec<String>,
}

/// Runs the schedules of some seeds, on all processors; returns one that ended wrong.
#[must_use]
pub fn run_all(seeds: Range<u64>, rules: Rules) -> Option<(u64, Box<Wrong>)> {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(wrong) = run(seed, rules) {
                next.store(seeds.end, Ordering::Relaxed);
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some((seed, wrong));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the schedule of a seed.
pub fn run(seed: u64, rules: Rules) -> Result<(), Box<Wrong>> {
    let mut random = StdRng::seed_from_u64(seed);
    let system = System::new(scenario(&mut random), rules);
    let mut state = system.initial();
    let mut taken = Vec::new();
    let mut actions = Vec::new();
    for _ in 0..random.random_range(10..120) {
        actions.clear();
        system.enabled(&state, &mut actions);
        let Some(action) = choose(&mut random, &actions) else { break };
        let next = system.after(&state, action);
        if next != state {
            taken.push((mem::replace(&mut state, next), action));
        }
    }
    system.verify(&state).map_err(|why| {
        let steps = taken.iter().map(|(state, action)| system.describe(state, *action)).collect();
        Box::new(Wrong { why, steps })
    })
}

/// One action in eight is an event, of each kind with the same probability.
fn choose(random: &mut StdRng, actions: &[Action]) -> Option<Action> {
    let (events, steps): (Vec<Action>, Vec<Action>) =
        actions.iter().partition(|action| action.is_event());
    let is_event = steps.is_empty() || random.random_ratio(1, 8);
    let mut kinds: Vec<_> = events.iter().map(discriminant).collect();
    kinds.dedup();
    let kind = kinds.choose(random).copied().filter(|_| is_event);
    let of_kind: Vec<Action> =
        events.into_iter().filter(|event| kind == Some(discriminant(event))).collect();
    of_kind.choose(random).or_else(|| steps.choose(random)).copied()
}

fn scenario(random: &mut StdRng) -> Scenario {
    let mode = match random.random_range(0..8) {
        0 => Mode::Off,
        1 => Mode::InOrder,
        _ => Mode::Shared,
    };
    let versions = random.random_ratio(1, 4);
    let files: Vec<File> =
        (0..random.random_range(1..=4)).map(|_| file(random, versions)).collect();
    let mut faults: Vec<Fault> = FAULTS.into_iter().filter(|_| random.random_ratio(1, 2)).collect();
    if mode == Mode::InOrder {
        let possible = [Fault::Crash, Fault::Restore, Fault::Replay];
        faults.retain(|fault| possible.contains(fault));
    }
    if faults.contains(&Fault::Vanish) {
        // A restored database does not know that an object is gone.
        faults.retain(|fault| *fault != Fault::Restore);
    }
    Scenario {
        name: "random",
        writers: if mode == Mode::InOrder { 2 } else { random.random_range(1..=3) },
        batch: random.random_range(1..=2),
        limit: random.random_range(0..=5),
        any_order: random.random(),
        max_rejects: random.random_ratio(1, 5).then(|| random.random_range(0..=1)),
        counts: random.random(),
        mode,
        own_files: if random.random() { 0 } else { random.random_range(0..=2) },
        files,
        faults,
    }
}

fn file(random: &mut StdRng, versions: bool) -> File {
    let keys: &[u8] = if random.random_ratio(1, 5) { &[2] } else { &[0, 0, 1] };
    let contents = [
        Content::A,
        Content::A,
        Content::A,
        Content::B,
        Content::B,
        Content::B,
        Content::Refused,
        Content::Invalid,
        Content::Delete,
    ];
    let allowed = *[6, 6, 7, 8, 9].choose(random).unwrap_or(&6);
    let chunks = 0..random.random_range(1..=3);
    let chunks = chunks.map(|_| {
        let lines = 0..random.random_range(1..=2);
        let lines = lines.map(|_| Line {
            key: keys.choose(random).copied().unwrap_or_default(),
            content: contents[..allowed].choose(random).copied().unwrap_or(Content::A),
            version: if versions { random.random_range(1..=2) } else { 0 },
        });
        lines.collect()
    });
    chunks.collect()
}
