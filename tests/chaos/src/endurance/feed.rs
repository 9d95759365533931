//! Puts objects one after another, and computes the expected result.

use std::time::Duration;

use jetline_oracle::Expected;
use jetline_testkit::s3::S3Server;
use rand::{SeedableRng, rngs::StdRng};
use tokio::time::MissedTickBehavior;

use super::deployment::BUCKET;
use crate::files::Mixture;

/// Ids are from 1 to this.
pub(super) const IDS: i64 = 4000;

/// Few contents, so that records change and revert often.
const FILES: Mixture = Mixture { ids: IDS, contents: 4, lines: 400 };

/// Puts objects and folds them at once, so that only the result is kept in memory.
pub(super) struct Feed {
    random: StdRng,
    every: Duration,
    count: u64,
    /// The expected state of the database when everything is done.
    pub(super) expected: Expected,
}

impl Feed {
    /// One object per interval, beginning with number 1.
    pub(super) fn new(seed: u64, every: Duration) -> Self {
        Self { random: StdRng::seed_from_u64(seed), every, count: 0, expected: Expected::default() }
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
            self.put(s3).await;
        }
        Ok(())
    }

    /// Puts objects at once.
    pub(super) async fn burst(&mut self, s3: &S3Server, count: u64) {
        for _ in 0..count {
            self.put(s3).await;
        }
    }

    async fn put(&mut self, s3: &S3Server) {
        self.count += 1;
        let object = FILES.file(self.count, &mut self.random);
        self.expected.add_products(&object.content);
        // Its modification time is now, so that objects are registered in the order of the fold.
        s3.put(BUCKET, &object.key, object.stored().await);
    }
}
