//! Random runs: data, instances and faults of each are generated from a seed.

mod assembly;
mod disruptions;
mod embedded;
mod fault;
mod injector;
mod plan;
mod ports;
mod receiver;
mod refusal;
mod run;
mod service;
mod slot;
mod statements;
mod step;
mod tally;
mod verdict;

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use tokio::{sync::mpsc, task::JoinSet};

pub(crate) use self::slot::Part;
use self::{
    plan::{Mode, Plan},
    run::Outcome,
    slot::Slot,
    tally::Tally,
};

/// Random runs with faults, each compared with the oracle.
#[derive(clap::Args)]
pub(crate) struct Campaign {
    /// How many runs
    #[arg(long, default_value = "80")]
    runs: u64,

    /// The seed of the first run; the others follow. A run is repeated with its seed and `--runs 1`
    #[arg(long, default_value = "0")]
    seed: u64,

    /// How many runs are executed at the same time, each on separate servers
    #[arg(long, alias = "lanes", default_value = "4")]
    slots: usize,

    /// Plan only the faults with this text in their names, at the steps that they have
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    fault: String,

    /// Stop at the first run with a wrong result
    #[arg(long)]
    fail_fast: bool,

    /// Print the plan of each run
    #[arg(long)]
    verbose: bool,

    /// Write the sums as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Executes the campaign.
pub(crate) fn run(arguments: &Campaign) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(campaign(arguments))
}

async fn campaign(arguments: &Campaign) -> anyhow::Result<ExitCode> {
    let fault = &arguments.fault;
    anyhow::ensure!(
        Plan::knows(fault),
        "no fault has {fault:?} in its name: the report has all names"
    );
    let begin = Instant::now();
    let next = Arc::new(AtomicU64::new(arguments.seed));
    let end = arguments.seed + arguments.runs;
    let (sender, mut receiver) = mpsc::channel(16);
    let mut slots = JoinSet::new();
    for _ in 0..arguments.slots.min(usize::try_from(arguments.runs)?) {
        let (next, sender) = (next.clone(), sender.clone());
        let (verbose, fault) = (arguments.verbose, arguments.fault.clone());
        slots.spawn(async move {
            let slot = Arc::new(tokio::task::spawn_blocking(Slot::start).await??);
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end {
                    return anyhow::Ok(());
                }
                let outcome = one(&slot, seed, &fault, verbose).await?;
                sender.send((seed, outcome)).await?;
            }
        });
    }
    drop(sender);
    let mut tally = Tally::default();
    while let Some((seed, outcome)) = receiver.recv().await {
        tally.add(seed, &outcome);
        report(seed, &outcome, tally.runs, arguments.runs);
        if arguments.fail_fast && !tally.failures.is_empty() {
            slots.abort_all();
            return conclude(&tally, arguments, begin);
        }
    }
    let mut not_executed = None;
    while let Some(slot) = slots.join_next().await {
        not_executed = not_executed.or(slot?.err());
    }
    println!("\n{}", tally.markdown());
    let concluded = conclude(&tally, arguments, begin)?;
    not_executed.map_or(Ok(concluded), Err)
}

async fn one(slot: &Arc<Slot>, seed: u64, fault: &str, verbose: bool) -> anyhow::Result<Outcome> {
    let plan = Plan::of(seed, fault);
    if verbose {
        println!("run {seed}: {}", describe(&plan));
    }
    let folder = tempfile::tempdir()?;
    let outcome = match plan.mode {
        Mode::Embedded => embedded::run(slot, plan, folder.path()).await,
        _ => run::run(slot, plan, folder.path()).await,
    };
    outcome.with_context(|| format!("run {seed} could not be executed"))
}

fn describe(plan: &Plan) -> String {
    format!(
        "{:?}, {} files, {} fetchers, {} writers of {} workers, {} couriers, dedup {}, drain {}, refusal {:?}, {:?}",
        plan.mode,
        plan.files.len(),
        plan.fetchers,
        plan.writers,
        plan.workers,
        plan.couriers,
        plan.dedup,
        plan.drain,
        plan.refusal,
        plan.faults
    )
}

fn report(seed: u64, outcome: &Outcome, done: u64, of: u64) {
    let verdict = &outcome.verdict;
    if verdict.is_good() {
        if done.is_multiple_of(20) {
            println!("{done} of {of} runs");
        }
        return;
    }
    println!(
        "run {seed} is wrong: {} lost, {} doubled, {} wrong; repeat with --seed {seed} --runs 1",
        verdict.lost, verdict.doubled, verdict.wrong
    );
    println!("  faults that happened: {:?}", outcome.fired);
    for finding in &verdict.findings {
        println!("  {finding}");
    }
}

fn conclude(tally: &Tally, arguments: &Campaign, begin: Instant) -> anyhow::Result<ExitCode> {
    if let Some(file) = &arguments.out {
        fs::write(file, serde_json::to_vec_pretty(tally)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed = tally.missed();
    println!(
        "{} runs, {} faults, {} lines compared, {} runs wrong, in {:.0?}",
        tally.runs,
        tally.faults,
        tally.lines,
        tally.failures.len(),
        begin.elapsed()
    );
    if !missed.is_empty() {
        println!("planned and never happened: {}", missed.join(", "));
    }
    let is_well = tally.failures.is_empty() && missed.is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
