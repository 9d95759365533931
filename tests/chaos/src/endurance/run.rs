//! What every long run is told, and how it ends.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use jetline_runtime::settings;
use tokio::{
    runtime::Runtime,
    signal::unix::{self, SignalKind},
    time::Instant,
};

use crate::programs;

use super::{
    deployment::Deployment,
    feed::Feed,
    ledger::LedgerSample,
    report::{Bound, Outcome},
};

/// The options of every long run.
#[derive(Clone, clap::Args)]
pub(crate) struct Run {
    /// How long the part lasts that is measured
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    pub(super) duration: Duration,

    /// Between two new objects
    #[arg(long, value_name = "DURATION", value_parser = settings::duration, default_value = "3s")]
    pub(super) every: Duration,

    /// How long everything that was put may take to be done in the end
    #[arg(long, value_name = "DURATION", value_parser = settings::duration, default_value = "3m")]
    pub(super) done_within: Duration,

    /// How many writers there are
    #[arg(long, default_value = "2")]
    pub(super) writers: usize,

    /// What the objects are made from: the same for a seed
    #[arg(long, default_value = "1")]
    pub(super) seed: u64,

    /// Where the programs are, if not beside this one
    #[arg(long, value_name = "DIR")]
    pub(super) binaries: Option<PathBuf>,

    /// Where the report goes; the logs of the programs go into a directory beside it
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
}

impl Run {
    /// Starts an installation.
    pub(super) async fn start(&self) -> anyhow::Result<Deployment> {
        let logs = self.out.with_extension("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let binaries = match &self.binaries {
            Some(binaries) => binaries.clone(),
            None => programs::folder()?,
        };
        Deployment::start(&binaries, &logs.canonicalize()?, self.writers).await
    }

    pub(super) fn feed(&self) -> Feed {
        Feed::new(self.seed, self.every)
    }

    /// Waits until all that was put has ended, within the time that it may take; says how long that was.
    pub(super) async fn until_ended(&self, deployment: &Deployment, feed: &Feed) -> Ended {
        let begin = Instant::now();
        let ledger = deployment
            .ledger
            .until_ended(feed.count(), self.done_within);
        Ended {
            ledger: ledger.await,
            seconds: begin.elapsed().as_secs_f64(),
        }
    }
}

/// How all that was put ended.
pub(super) struct Ended {
    /// Nothing, when it took too long.
    ledger: Option<LedgerSample>,
    /// How long it was waited for.
    pub(super) seconds: f64,
}

impl Ended {
    /// Within the time that it may take.
    pub(super) fn bound(&self, run: &Run) -> Bound {
        let limit = run.done_within.as_secs_f64();
        Bound::at_most("time until all was done", self.seconds, limit, "s")
    }

    /// Compared with what must be, if it ended.
    pub(super) async fn outcome(
        &self,
        deployment: &Deployment,
        feed: &Feed,
    ) -> anyhow::Result<Outcome> {
        let (ledger, differences) = match self.ledger {
            Some(ledger) => (ledger, deployment.ledger.differences(&feed.expected).await?),
            None => (deployment.ledger.sample().await?, Vec::new()),
        };
        Ok(Outcome::new(&feed.expected, ledger, differences))
    }
}

/// Does the work, unless a signal comes: then it is dropped, and with it every process that it started.
pub(super) fn unless_told_to_end(
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    Runtime::new()?.block_on(async {
        let mut interrupt = unix::signal(SignalKind::interrupt())?;
        let mut terminate = unix::signal(SignalKind::terminate())?;
        let mut hang_up = unix::signal(SignalKind::hangup())?;
        tokio::select! {
            done = work => done,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
            _ = hang_up.recv() => bail!("hung up"),
        }
    })
}
