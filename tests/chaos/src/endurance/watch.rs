//! Takes samples in the background.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::files;

use super::{
    deployment::{BUCKET, Deployment},
    sample::{Phase, Sample, Timed},
};

/// The samples of a run.
pub(super) struct Watch {
    begin: Instant,
    every: Duration,
    /// The number of the first object that is still in S3.
    oldest: u64,
    pub(super) samples: Vec<Timed>,
}

impl Watch {
    /// One sample per interval.
    pub(super) fn new(every: Duration) -> Self {
        Self { begin: Instant::now(), every, oldest: 1, samples: Vec::new() }
    }

    /// Runs some work and takes samples meanwhile. Fails if a program ends.
    pub(super) async fn during<T>(
        &mut self,
        phase: Phase,
        deployment: &Deployment,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look_on = async {
            loop {
                ticks.tick().await;
                if let Err(error) = self.sample(phase, deployment).await {
                    break error;
                }
            }
        };
        tokio::select! {
            done = work => done,
            error = look_on => Err(error),
        }
    }

    /// Takes one sample.
    pub(super) async fn sample(
        &mut self,
        phase: Phase,
        deployment: &Deployment,
    ) -> anyhow::Result<Sample> {
        let sample = deployment.sample().await?;
        if let Some(ledger) = &sample.ledger {
            self.forget_below(ledger.settled.cast_unsigned(), deployment);
        }
        self.samples.push(Timed {
            seconds: self.begin.elapsed().as_secs_f64(),
            phase,
            sample: sample.clone(),
        });
        Ok(sample)
    }

    /// Deletes settled objects from S3, like a lifecycle rule: they are never read again.
    fn forget_below(&mut self, settled: u64, deployment: &Deployment) {
        for number in self.oldest..settled {
            for key in files::keys(number) {
                deployment.s3.delete(BUCKET, &key);
            }
        }
        self.oldest = self.oldest.max(settled);
    }
}
