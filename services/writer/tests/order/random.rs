//! Random schedules.

use std::env;

use jetline_store::ObjectState as State;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    check::has_no_accepted_line,
    declarations::{self, Dataset, Declaration},
    files::{File, Lines, REFUSED},
    non_atomic::NonAtomic,
    rule::Rule,
    servers::{RUNNING, Servers, Store},
    simulation::Simulation,
};

/// A schedule that has not ended after this many steps is stuck.
const MAX_STEPS: u32 = 3_000;

#[tokio::test]
async fn schedules_end_with_the_fold() {
    let servers = Servers::sqlite(Store::memory()).await;
    all_right(&servers, 0, 2_500).await;
}

#[tokio::test]
async fn schedules_on_redis_end_with_the_fold() {
    let servers = Servers::sqlite(Store::redis().await).await;
    all_right(&servers, 1_000_000, 900).await;
}

#[tokio::test]
async fn schedules_on_postgres_and_redis_end_with_the_fold() {
    let servers = Servers::postgres(Store::redis().await).await;
    all_right(&servers, 2_000_000, 300).await;
}

#[tokio::test]
async fn without_trust_in_settled_positions_only_random_schedules_fail() {
    fails(Rule::Settled, Store::memory(), 600).await;
}

#[tokio::test]
async fn without_settled_content_only_as_stored_random_schedules_fail() {
    fails(Rule::Stored, Store::memory(), 600).await;
}

#[tokio::test]
async fn without_raised_positions_random_schedules_fail() {
    fails(Rule::Strict, Store::memory(), 600).await;
}

#[tokio::test]
async fn without_superseded_random_schedules_fail() {
    fails(Rule::Superseded, Store::memory(), 2_000).await;
}

#[tokio::test]
async fn without_waiting_for_superseding_lines_random_schedules_fail() {
    fails(Rule::SupersededBy, Store::memory(), 3_000).await;
}

#[tokio::test]
async fn without_a_new_epoch_after_a_refusal_random_schedules_fail() {
    fails(Rule::Refusal, Store::memory(), 2_000).await;
}

#[tokio::test]
async fn without_an_atomic_claim_random_schedules_fail() {
    fails(Rule::Atomic, Store::NonAtomic(NonAtomic::default().into()), 2_000).await;
}

async fn all_right(servers: &Servers, first: u64, runs: u64) {
    if let Some(seed) = setting("ORDER_SEED") {
        let ended = run(servers, seed, None).await;
        assert_eq!(ended, Ok(()), "ORDER_SEED={seed}");
        return;
    }
    for seed in first..first + setting("ORDER_RUNS").unwrap_or(runs) {
        if let Err(wrong) = run(servers, seed, None).await {
            panic!("ORDER_SEED={seed} fails: {wrong}");
        }
    }
}

async fn fails(without: Rule, store: Store, runs: u64) {
    let servers = Servers::sqlite(store).await;
    let (mut seed, runs) = (0, setting("ORDER_RUNS").unwrap_or(runs));
    while run(&servers, seed, Some(without)).await.is_ok() {
        seed += 1;
        assert!(seed < runs, "{runs} schedules passed without the rule {without:?}");
    }
    eprintln!("without {without:?}: seed {seed}");
}

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap())
}

async fn run(servers: &Servers, seed: u64, without: Option<Rule>) -> Result<(), String> {
    let _running = RUNNING.read().await;
    let mut random = StdRng::seed_from_u64(seed);
    let refuses = seed.is_multiple_of(3);
    let (kind, declaration, changes) = declarations::random(&mut random, refuses);
    let ids = random.random_range(1..=2);
    let contents: &[char] = if refuses { &['A', 'B', REFUSED] } else { &['A', 'B'] };
    let all = || changes.iter().chain([&declaration]);
    let lines = Lines {
        ids,
        contents,
        versions: kind.version.is_some(),
        deletes: all().any(|one| one.deletes),
        more: all().any(|one| one.columns.contains(&"more")),
    };
    let files = 0..random.random_range(1..=3);
    let files = files.map(|_| File::random(&mut random, &lines)).collect();
    let dataset = Dataset { kind, declaration, files };
    let simulation = Simulation::new(servers, dataset, without, random.random()).await;
    let mut schedule = Schedule {
        faults: random.random_range(0..=4),
        random,
        simulation,
        changes,
        refuses,
        slow: if refuses { 30 } else { 0 },
    };
    if refuses {
        schedule.read_together().await;
    }
    let ended = schedule.run().await;
    ended.map_err(|wrong| {
        let Schedule { simulation, .. } = &schedule;
        format!("{wrong}\nfiles {:#?}\n{}", simulation.files, simulation.log.join("\n"))
    })
}

struct Schedule<'a> {
    simulation: Simulation<'a>,
    random: StdRng,
    /// Number of faults that may still happen.
    faults: u32,
    /// The declarations that the dataset gets one after another.
    changes: Vec<Declaration>,
    /// Whether the database refuses lines.
    refuses: bool,
    /// Number of steps for which the first writer does not commit what it has claimed.
    slow: u32,
}

impl Schedule<'_> {
    async fn run(&mut self) -> Result<(), String> {
        for _ in 0..MAX_STEPS {
            self.slow = self.slow.saturating_sub(1);
            if self.faults > 0 && self.random.random_bool(0.1) {
                self.fault().await;
            } else if !self.changes.is_empty() && self.random.random_bool(0.05) {
                self.simulation.declare(self.changes.remove(0)).await;
            } else if self.slow > 0 && self.simulation.queue.is_empty() && self.busy().is_empty() {
                self.slow = 0;
            } else if self.simulation.queue.is_empty() && self.busy().is_empty() {
                if !self.make_progress().await {
                    return self.simulation.check().await;
                }
            } else if self.random.random_bool(0.15) {
                self.fetch().await;
            } else {
                self.write().await;
                // With refusals, the result depends on which objects have ended before.
                if self.refuses && self.random.random_bool(0.3) {
                    self.simulation.settle().await;
                }
            }
        }
        Err("it does not end".to_owned())
    }

    /// Reads all files before anything is written: lines are superseded by lines of other objects only where chunks of
    /// both are in flight.
    async fn read_together(&mut self) {
        for file in 0..self.simulation.files.len() {
            self.simulation.register(file).await;
        }
        while self.simulation.read(None).await {}
    }

    /// A step of a fetcher.
    async fn fetch(&mut self) {
        match self.random.random_range(0..10) {
            0..3 => {
                let file = self.random.random_range(0..self.simulation.files.len());
                self.simulation.register(file).await;
            }
            3..6 => {
                let limit = self.random.random_bool(0.1).then(|| self.random.random_range(0..3));
                self.simulation.read(limit).await;
            }
            6..9 => self.simulation.settle().await,
            _ => self.simulation.reconcile().await,
        }
    }

    /// A step of a writer.
    async fn write(&mut self) {
        let (simulation, random) = (&mut self.simulation, &mut self.random);
        let idle: Vec<usize> = (0..simulation.writers.len())
            .filter(|writer| simulation.writers[*writer].is_idle())
            .collect();
        let receives = !simulation.queue.is_empty() && random.random_ratio(1, 3);
        if let (true, Some(writer)) = (receives, idle.choose(random)) {
            let message = random.random_range(0..simulation.queue.len());
            simulation.receive(*writer, message);
            if !simulation.queue.is_empty() && random.random_bool(0.2) {
                let message = random.random_range(0..simulation.queue.len());
                simulation.receive(*writer, message);
            }
            return;
        }
        let busy = self.busy();
        if let Some(writer) = busy.choose(&mut self.random) {
            self.simulation.advance(*writer).await;
        }
    }

    fn busy(&self) -> Vec<usize> {
        let writers = &self.simulation.writers;
        let is_slow = |writer| writer == 0 && self.slow > 0 && writers[0].stage() == "claimed";
        (0..writers.len())
            .filter(|writer| !writers[*writer].is_idle() && !is_slow(*writer))
            .collect()
    }

    /// When nothing is in flight: does what is needed next; `false` when everything is done.
    async fn make_progress(&mut self) -> bool {
        self.simulation.settle().await;
        if self.simulation.read(None).await {
            return true;
        }
        let objects = self.simulation.objects().await;
        if objects.len() < self.simulation.files.len() {
            let file = self.random.random_range(0..self.simulation.files.len());
            self.simulation.register(file).await;
            return true;
        }
        self.simulation.reconcile().await;
        self.simulation.read(None).await || self.replay_failed().await
    }

    /// Replays from the oldest failed object on, as after its cause was fixed.
    async fn replay_failed(&mut self) -> bool {
        let objects = self.simulation.objects().await;
        let mut failed = objects
            .iter()
            .filter(|object| object.state == State::Failed && !has_no_accepted_line(object));
        let Some(oldest) = failed.next() else {
            return false;
        };
        self.simulation.replay(oldest.id).await;
        true
    }

    async fn fault(&mut self) {
        self.faults -= 1;
        let busy = self.busy();
        let writer = busy.choose(&mut self.random).copied();
        match (self.random.random_range(0..14), writer) {
            (0..2, Some(writer)) => self.simulation.crash(writer),
            (2..4, Some(writer)) => self.simulation.duplicate(writer),
            (4..7, _) => self.simulation.wipe_dedup(),
            (7, _) => self.simulation.wipe_queue(),
            (8, _) => {
                self.faults += 1;
                self.simulation.back_up().await;
            }
            (9, _) => self.simulation.restore().await,
            (10 | 11, _) if !self.simulation.queue.is_empty() => {
                let message = self.random.random_range(0..self.simulation.queue.len());
                self.simulation.dead_letter(message).await;
            }
            (12.., _) => {
                let objects = self.simulation.objects().await;
                if let Some(object) = objects.choose(&mut self.random) {
                    self.simulation.replay(object.id).await;
                }
            }
            _ => {}
        }
    }
}
