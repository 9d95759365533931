//! Puts objects one after another, and computes the expected result.

use std::time::Duration;

use jetline_oracle::Expected;
use jetline_testkit::s3::S3Server;
use tokio::time::MissedTickBehavior;

use super::{deployment::BUCKET, lines::Objects};

/// Puts objects and folds them at once, so that only the result is kept in memory.
pub(super) struct Feed {
    objects: Objects,
    every: Duration,
    count: u64,
    /// The expected state of the database when everything is done.
    pub(super) expected: Expected,
}

impl Feed {
    /// One object per interval, beginning with number 1.
    pub(super) fn new(seed: u64, every: Duration) -> Self {
        Self { objects: Objects::new(seed), every, count: 0, expected: Expected::default() }
    }

    /// How many objects were put.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Puts objects at intervals for some time.
    pub(super) async fn run_for(&mut self, s3: &S3Server, time: Duration) -> anyhow::Result<()> {
        let end = tokio::time::Instant::now() + time;
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        while tokio::time::timeout_at(end, ticks.tick()).await.is_ok() {
            self.put(s3).await?;
        }
        Ok(())
    }

    /// Puts objects at once.
    pub(super) async fn burst(&mut self, s3: &S3Server, count: u64) -> anyhow::Result<()> {
        for _ in 0..count {
            self.put(s3).await?;
        }
        Ok(())
    }

    async fn put(&mut self, s3: &S3Server) -> anyhow::Result<()> {
        self.count += 1;
        let object = self.objects.object(self.count).await?;
        self.expected.add(&object.plain);
        // Its modification time is now, so that objects are registered in the order of the fold.
        s3.put(BUCKET, &object.key, object.stored);
        Ok(())
    }
}
