//! The options and the end of long runs.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use jetline_runtime::settings;
use jetline_testkit::programs;
use tokio::{
    runtime::Runtime,
    signal::unix::{self, SignalKind},
    time::Instant,
};

use super::{
    deployment::Deployment,
    feed::Feed,
    ledger::LedgerSample,
    report::{Limit, Outcome},
};

/// The options of every long run.
#[derive(Clone, clap::Args)]
pub(crate) struct Run {
    /// The duration of the measured part
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    pub(super) duration: Duration,

    /// The interval of new objects
    #[arg(long, value_name = "DURATION", value_parser = settings::duration, default_value = "3s")]
    pub(super) every: Duration,

    /// The timeout until everything is done at the end
    #[arg(long, value_name = "DURATION", value_parser = settings::duration, default_value = "3m")]
    pub(super) done_within: Duration,

    /// The number of writers
    #[arg(long, default_value = "2")]
    pub(super) writers: usize,

    /// The seed of the objects
    #[arg(long, default_value = "1")]
    pub(super) seed: u64,

    /// The directory of the programs, if not that of this one
    #[arg(long, value_name = "DIR")]
    pub(super) binaries: Option<PathBuf>,

    /// The file of the report; the logs of the programs go into a directory beside it
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
            None => programs::directory()?,
        };
        Deployment::start(&binaries, &logs.canonicalize()?, self.writers).await
    }

    pub(super) fn feed(&self) -> Feed {
        Feed::new(self.seed, self.every)
    }

    /// Waits until all objects have ended, up to the timeout; returns how long that took.
    pub(super) async fn until_ended(&self, deployment: &Deployment, feed: &Feed) -> Ended {
        let begin = Instant::now();
        let ledger = deployment.ledger.until_ended(feed.count(), self.done_within);
        Ended { ledger: ledger.await, seconds: begin.elapsed().as_secs_f64() }
    }
}

/// The end of a run.
pub(super) struct Ended {
    /// `None` after a timeout.
    ledger: Option<LedgerSample>,
    /// How long it took.
    pub(super) seconds: f64,
}

impl Ended {
    /// The limit of the time.
    pub(super) fn bound(&self, run: &Run) -> Limit {
        let limit = run.done_within.as_secs_f64();
        Limit::at_most("time until all was done", self.seconds, limit, "s")
    }

    /// The result of the comparison, if it ended.
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

/// Runs the work until a signal arrives: then it is dropped, with every process that it started.
pub(super) fn until_signal(
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
