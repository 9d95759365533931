//! Random schedules.

use std::env;

use jetline_store::entities::objects::State;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{
    files::{File, REFUSED},
    place::{Place, Store},
    rule::Rule,
    torn::Torn,
    world::{World, is_of_nothing},
};

/// A schedule that did not end after so many steps is stuck.
const STEPS: u32 = 3_000;

#[tokio::test]
async fn schedules_end_with_the_fold() {
    let place = Place::sqlite(Store::memory()).await;
    all_right(&place, 0, 2_500).await;
}

#[tokio::test]
async fn schedules_on_redis_end_with_the_fold() {
    let place = Place::sqlite(Store::redis().await).await;
    all_right(&place, 1_000_000, 900).await;
}

#[tokio::test]
async fn schedules_on_postgres_and_redis_end_with_the_fold() {
    let place = Place::postgres(Store::redis().await).await;
    all_right(&place, 2_000_000, 300).await;
}

#[tokio::test]
async fn without_settled_positions_only_random_schedules_end_wrong() {
    noticed(Rule::Settled, Store::memory(), 600).await;
}

#[tokio::test]
async fn without_settled_content_only_as_stored_random_schedules_end_wrong() {
    noticed(Rule::Stored, Store::memory(), 600).await;
}

#[tokio::test]
async fn without_raised_positions_random_schedules_end_wrong() {
    noticed(Rule::Strict, Store::memory(), 600).await;
}

#[tokio::test]
async fn without_superseded_random_schedules_end_wrong() {
    noticed(Rule::Superseded, Store::memory(), 2_000).await;
}

#[tokio::test]
async fn without_waiting_for_what_outdid_a_line_random_schedules_end_wrong() {
    noticed(Rule::Outdone, Store::memory(), 3_000).await;
}

#[tokio::test]
async fn without_a_new_epoch_after_a_refusal_random_schedules_end_wrong() {
    noticed(Rule::Refusal, Store::memory(), 2_000).await;
}

#[tokio::test]
async fn without_an_atomic_claim_random_schedules_end_wrong() {
    noticed(Rule::Atomic, Store::Torn(Torn::default().into()), 2_000).await;
}

async fn all_right(place: &Place, first: u64, runs: u64) {
    if let Some(seed) = setting("ORDER_SEED") {
        let ended = run(place, seed, None).await;
        assert_eq!(ended, Ok(()), "ORDER_SEED={seed}");
        return;
    }
    for seed in first..first + setting("ORDER_RUNS").unwrap_or(runs) {
        if let Err(wrong) = run(place, seed, None).await {
            panic!("ORDER_SEED={seed} ends wrong: {wrong}");
        }
    }
}

async fn noticed(without: Rule, store: Store, runs: u64) {
    let place = Place::sqlite(store).await;
    let (mut seed, runs) = (0, setting("ORDER_RUNS").unwrap_or(runs));
    while run(&place, seed, Some(without)).await.is_ok() {
        seed += 1;
        assert!(
            seed < runs,
            "{runs} schedules ended right without the rule {without:?}"
        );
    }
    eprintln!("without {without:?}: seed {seed}");
}

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap())
}

async fn run(place: &Place, seed: u64, without: Option<Rule>) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let versions = random.random_bool(0.2);
    let ids = random.random_range(1..=2);
    let refuses = seed.is_multiple_of(3);
    let contents: &[char] = if refuses {
        &['A', 'B', REFUSED]
    } else {
        &['A', 'B']
    };
    let files = 0..random.random_range(1..=3);
    let files = files.map(|_| File::random(&mut random, ids, versions, contents));
    let files = files.collect();
    let world = World::new(place, files, versions, without, random.random()).await;
    let mut schedule = Schedule {
        faults: random.random_range(0..=4),
        random,
        world,
        refuses,
        slow: if refuses { 30 } else { 0 },
    };
    if refuses {
        schedule.read_together().await;
    }
    let ended = schedule.run().await;
    ended.map_err(|wrong| {
        let Schedule { world, .. } = &schedule;
        format!(
            "{wrong}\nfiles {:#?}\n{}",
            world.files,
            world.log.join("\n")
        )
    })
}

struct Schedule<'a> {
    world: World<'a>,
    random: StdRng,
    /// How many more faults happen at most.
    faults: u32,
    /// Whether the database refuses lines.
    refuses: bool,
    /// For how many steps the first writer stays with what it has claimed.
    slow: u32,
}

impl Schedule<'_> {
    async fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.slow = self.slow.saturating_sub(1);
            if self.faults > 0 && self.random.random_bool(0.1) {
                self.fault().await;
            } else if self.slow > 0 && self.world.queue.is_empty() && self.busy().is_empty() {
                self.slow = 0;
            } else if self.world.queue.is_empty() && self.busy().is_empty() {
                if !self.go_on().await {
                    return self.world.faults().await;
                }
            } else if self.random.random_bool(0.15) {
                self.fetch().await;
            } else {
                self.write().await;
                // What counts with refusals is how much has ended before.
                if self.refuses && self.random.random_bool(0.3) {
                    self.world.settle().await;
                }
            }
        }
        Err("it does not end".to_owned())
    }

    /// Reads all files before anything is written: lines are outdone by lines of other objects only where chunks of both
    /// are under way.
    async fn read_together(&mut self) {
        for file in 0..self.world.files.len() {
            self.world.register(file).await;
        }
        while self.world.read(None).await {}
    }

    /// A step of a fetcher.
    async fn fetch(&mut self) {
        match self.random.random_range(0..10) {
            0..3 => {
                let file = self.random.random_range(0..self.world.files.len());
                self.world.register(file).await;
            }
            3..6 => {
                let limit = self
                    .random
                    .random_bool(0.1)
                    .then(|| self.random.random_range(0..3));
                self.world.read(limit).await;
            }
            6..9 => self.world.settle().await,
            _ => self.world.reconcile().await,
        }
    }

    /// A step of a writer.
    async fn write(&mut self) {
        let (world, random) = (&mut self.world, &mut self.random);
        let idle: Vec<usize> = (0..world.writers.len())
            .filter(|writer| world.writers[*writer].is_idle())
            .collect();
        let receives = !world.queue.is_empty() && random.random_ratio(1, 3);
        if let (true, Some(writer)) = (receives, idle.choose(random)) {
            let message = random.random_range(0..world.queue.len());
            world.receive(*writer, message);
            if !world.queue.is_empty() && random.random_bool(0.2) {
                let message = random.random_range(0..world.queue.len());
                world.receive(*writer, message);
            }
            return;
        }
        let busy = self.busy();
        if let Some(writer) = busy.choose(&mut self.random) {
            self.world.advance(*writer).await;
        }
    }

    fn busy(&self) -> Vec<usize> {
        let writers = &self.world.writers;
        let is_slow = |writer| writer == 0 && self.slow > 0 && writers[0].stage() == "claimed";
        (0..writers.len())
            .filter(|writer| !writers[*writer].is_idle() && !is_slow(*writer))
            .collect()
    }

    /// When nothing is under way: whatever brings the schedule on; `false` when all is done.
    async fn go_on(&mut self) -> bool {
        self.world.settle().await;
        if self.world.read(None).await {
            return true;
        }
        let objects = self.world.objects().await;
        if objects.len() < self.world.files.len() {
            let file = self.random.random_range(0..self.world.files.len());
            self.world.register(file).await;
            return true;
        }
        self.world.reconcile().await;
        self.world.read(None).await || self.replay_failed().await
    }

    /// The cause of a failure is gone.
    async fn replay_failed(&mut self) -> bool {
        let objects = self.world.objects().await;
        let mut failed = objects
            .iter()
            .filter(|object| object.state == State::Failed && !is_of_nothing(object));
        let Some(oldest) = failed.next() else {
            return false;
        };
        self.world.replay(oldest.id).await;
        true
    }

    async fn fault(&mut self) {
        self.faults -= 1;
        let busy = self.busy();
        let writer = busy.choose(&mut self.random).copied();
        match (self.random.random_range(0..14), writer) {
            (0..2, Some(writer)) => self.world.crash(writer),
            (2..4, Some(writer)) => self.world.duplicate(writer),
            (4..7, _) => self.world.lose_store(),
            (7, _) => self.world.lose_queue(),
            (8, _) => {
                self.faults += 1;
                self.world.back_up().await;
            }
            (9, _) => self.world.restore().await,
            (10 | 11, _) if !self.world.queue.is_empty() => {
                let message = self.random.random_range(0..self.world.queue.len());
                self.world.give_up(message).await;
            }
            (12.., _) => {
                let objects = self.world.objects().await;
                if let Some(object) = objects.choose(&mut self.random) {
                    self.world.replay(object.id).await;
                }
            }
            _ => {}
        }
    }
}
