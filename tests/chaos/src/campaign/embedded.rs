//! A run of `jetline` without servers: it is killed, and the disk of its database gets full.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use jetline_oracle::ledger::Ledger;
use jetline_testkit::{disk::SmallDisk, installation::Installation, process::Process, programs};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use crate::kinds;

use super::{
    assembly::settings_of_plan,
    fault::{Fault, Kind},
    plan::Plan,
    run::{Outcome, bucket, put_files},
    slot::Slot,
    verdict::{self, Verdict},
};

/// The size of the disk, in bytes: much more than a run needs.
const DISK_BYTES: u64 = 32 << 20;

/// How many bytes the database grows between two positions of a fault.
const BYTES_PER_POSITION: u64 = 40 << 10;

/// How long the disk is full, in milliseconds: from less to more than SQLite's busy timeout.
const FULL: std::ops::Range<u64> = 50..7000;

/// The most starts of the program.
const MAX_STARTS: u32 = 20;

/// The timeout of the program, which normally takes seconds.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The interval of polling the program and its database.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Runs a plan.
pub(super) async fn run(slot: &Arc<Slot>, plan: Plan, folder: &Path) -> anyhow::Result<Outcome> {
    put_files(slot, &plan, 0..plan.files.len()).await;
    let disk = SmallDisk::mount(DISK_BYTES)?;
    let mut run = Run {
        command: command(slot, &plan, folder, &disk)?,
        log: folder.join("jetline.log"),
        disk,
        random: StdRng::seed_from_u64(!plan.seed),
        left: plan.faults.clone(),
        fired: Vec::new(),
    };
    let mut verdict = Verdict::default();
    if run.until_complete().await? {
        let copy = folder.join("copy.db");
        fs::copy(run.database(), &copy)?;
        // It is part of the database where the disk was full when the program ended, which it says.
        let log = run.database().with_extension("db-wal");
        if log.exists() {
            fs::copy(log, copy.with_extension("db-wal"))?;
        }
        let ledger = Ledger::connect(&format!("sqlite://{}", copy.display())).await?;
        verdict::compare(&ledger, &plan, &mut verdict).await?;
    } else {
        verdict.wrong("it does not end successfully");
    }
    let output = fs::read_to_string(&run.log)?;
    if output.contains("panicked") {
        verdict.wrong("it panicked");
    }
    if !verdict.is_good() {
        verdict.find(&output[output.len().saturating_sub(600)..]);
    }
    slot.s3.delete_bucket(&bucket(&plan));
    Ok(Outcome {
        of_datasets: plan.of_datasets(),
        planned: plan.faults,
        fired: run.fired,
        mode: plan.mode,
        refusal: plan.refusal,
        verdict,
        steps: std::collections::BTreeMap::new(),
    })
}

struct Run {
    command: Command,
    log: PathBuf,
    disk: SmallDisk,
    random: StdRng,
    left: Vec<Fault>,
    fired: Vec<Fault>,
}

impl Run {
    /// Starts the program until it reports that everything is loaded.
    async fn until_complete(&mut self) -> anyhow::Result<bool> {
        for _ in 0..MAX_STARTS {
            let mut process = Process::start(self.disk.enter(&self.command), &self.log)?;
            let begin = Instant::now();
            loop {
                if let Some(status) = process.try_wait()? {
                    if status.success() {
                        return Ok(true);
                    }
                    break;
                }
                if begin.elapsed() > TIMEOUT {
                    return Ok(false);
                }
                let size = self.size();
                let due = |fault: &Fault| size >= u64::from(fault.nth) * BYTES_PER_POSITION;
                if let Some(due) = self.left.iter().position(due) {
                    let fault = self.left.remove(due);
                    self.inject(fault, &mut process).await?;
                    self.fired.push(fault);
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        Ok(false)
    }

    async fn inject(&mut self, fault: Fault, process: &mut Process) -> anyhow::Result<()> {
        if fault.kind == Kind::CrashBefore {
            process.kill();
            return Ok(());
        }
        self.disk.fill()?;
        sleep(Duration::from_millis(self.random.random_range(FULL))).await;
        if self.random.random_bool(0.3) {
            process.kill();
        }
        self.disk.free()
    }

    fn database(&self) -> PathBuf {
        self.disk.folder().join("t.db")
    }

    /// The size of the database and its WAL, in bytes.
    fn size(&self) -> u64 {
        let files = [self.database(), self.database().with_extension("db-wal")];
        // Missing before it is created.
        let sizes = files.iter().filter_map(|file| fs::metadata(file).ok());
        sizes.map(|file| file.len()).sum()
    }
}

fn command(slot: &Slot, plan: &Plan, folder: &Path, disk: &SmallDisk) -> anyhow::Result<Command> {
    let mut installation =
        Installation::new(&programs::directory()?, folder, settings_of_plan(slot, plan)?);
    let database = format!("sqlite://{}", disk.mount_point().join("t.db").display());
    installation.set("DATABASE_URL", &database);
    let datasets = folder.join("datasets");
    fs::create_dir(&datasets)?;
    for (name, text) in kinds::declarations(false, false) {
        fs::write(datasets.join(name).with_extension("toml"), text)?;
    }
    installation.set("DATASETS", &datasets.display().to_string());
    let mut command = installation.command("jetline")?;
    command.arg("--exit");
    Ok(command)
}
