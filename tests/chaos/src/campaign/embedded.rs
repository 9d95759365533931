//! A run of the program that needs no servers: its database is a file on a disk that gets full, and it is killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use jetline_testkit::{disk::SmallDisk, process::Process};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use crate::programs;

use super::{
    assembly::fetcher_flags,
    fault::{Fault, Kind, Part},
    lane::Lane,
    plan::Plan,
    run::{Outcome, bucket, put_files},
    step::Role,
    verdict::{self, Verdict},
};

/// The size of the disk, in bytes: much more than what a run needs.
const DISK: u64 = 32 << 20;

/// From one number of a fault to the next, in bytes that the database has grown by.
const EVERY: u64 = 40 << 10;

/// How long the disk is full, in milliseconds: from less to more than the time for which SQLite waits for a lock.
const FULL: std::ops::Range<u64> = 50..7000;

/// How often the program is started at most.
const STARTS: u32 = 20;

/// A program that goes on so long hangs: others take seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at the program and its database.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Runs a plan.
pub(super) async fn run(lane: &Arc<Lane>, plan: Plan, folder: &Path) -> anyhow::Result<Outcome> {
    put_files(lane, &plan).await;
    let disk = SmallDisk::mount(DISK)?;
    let mut run = Run {
        command: command(lane, &plan, folder, &disk)?,
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
        let url = format!("sqlite://{}", copy.display());
        verdict::compare(&url, &plan, &mut verdict).await?;
    } else {
        verdict.wrong("it does not end, or never well");
    }
    let output = fs::read_to_string(&run.log)?;
    if output.contains("panicked") {
        verdict.wrong("it panicked");
    }
    if !verdict.is_good() {
        verdict.find(&output[output.len().saturating_sub(600)..]);
    }
    lane.s3.delete_bucket(&bucket(&plan));
    Ok(Outcome {
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
    /// Starts the program until it says that everything is loaded.
    async fn until_complete(&mut self) -> anyhow::Result<bool> {
        for _ in 0..STARTS {
            let mut process = Process::start(self.disk.enter(&self.command), &self.log)?;
            let begin = Instant::now();
            loop {
                if let Some(status) = process.try_wait()? {
                    if status.success() {
                        return Ok(true);
                    }
                    break;
                }
                if begin.elapsed() > PATIENCE {
                    return Ok(false);
                }
                let size = self.size();
                let due = |fault: &Fault| size >= u64::from(fault.nth) * EVERY;
                if let Some(due) = self.left.iter().position(due) {
                    let fault = self.left.remove(due);
                    self.strike(fault, &mut process).await?;
                    self.fired.push(fault);
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(false)
    }

    async fn strike(&mut self, fault: Fault, process: &mut Process) -> anyhow::Result<()> {
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

    /// The bytes of the database and of its log.
    fn size(&self) -> u64 {
        let files = [self.database(), self.database().with_extension("db-wal")];
        // Before it is made there is none.
        let sizes = files.iter().filter_map(|file| fs::metadata(file).ok());
        sizes.map(|file| file.len()).sum()
    }
}

fn command(lane: &Lane, plan: &Plan, folder: &Path, disk: &SmallDisk) -> anyhow::Result<Command> {
    let mut command = Command::new(programs::find("jetline")?);
    command.arg("--exit").env_clear().current_dir(folder);
    command.envs(fetcher_flags(plan));
    let endpoint = lane.url(Role::Fetcher, Part::S3)?;
    let place = disk.place().join("t.db");
    let place = place.to_str().context("a path that is not UTF-8")?;
    command.envs([
        ("DATABASE_URL", format!("sqlite://{place}")),
        ("AWS_ENDPOINT_URL", endpoint.to_string()),
        ("AWS_ACCESS_KEY_ID", lane.s3.access_key().to_owned()),
        ("AWS_SECRET_ACCESS_KEY", lane.s3.secret_key().to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("S3_PART_SIZE", plan.part_bytes.to_string()),
        ("S3_PARALLEL_PARTS", "1".to_owned()),
        ("WRITER_WORKERS", plan.workers.to_string()),
        ("WRITER_CHUNKS", plan.chunks_per_commit.to_string()),
    ]);
    Ok(command)
}
