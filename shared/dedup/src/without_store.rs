//! The adapter without a store: every record gets the same verdict.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use jetline_core::{EpochId, Mode, ObjectId, Verdict};

use crate::{Claim, Claimed, Dedup, Error};

/// Has no entries, and so cannot lose any.
#[derive(Debug)]
pub struct WithoutStore {
    mode: Mode,
    epochs_begun: AtomicU32,
}

impl WithoutStore {
    /// Dedup is switched off for all writers: every record is written.
    #[must_use]
    pub const fn off() -> Self {
        Self::new(Mode::Off)
    }

    /// One writer commits in order, with no concurrent commits: every record is written if it changed.
    ///
    /// That holds for the first epoch. Another one begins when the database was restarted, and perhaps restored: what was
    /// rolled back is read again out of order, so that from then on every record is written.
    #[must_use]
    pub const fn in_order() -> Self {
        Self::new(Mode::InOrder)
    }

    const fn new(mode: Mode) -> Self {
        Self { mode, epochs_begun: AtomicU32::new(0) }
    }

    fn verdict(&self) -> Verdict {
        if self.mode == Mode::InOrder && self.epochs_begun.load(Ordering::Relaxed) <= 1 {
            Verdict::WriteIfChanged
        } else {
            Verdict::Write
        }
    }
}

#[async_trait]
impl Dedup for WithoutStore {
    fn mode(&self) -> Mode {
        self.mode
    }

    async fn claim(
        &self,
        _: &EpochId,
        _: ObjectId,
        _: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error> {
        Ok(Claimed::Verdicts(vec![self.verdict(); claims.len()]))
    }

    async fn begin(&self, _: &EpochId) -> Result<(), Error> {
        self.epochs_begun.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, Error> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &[EpochId]) -> Result<u64, Error> {
        Ok(0)
    }
}
