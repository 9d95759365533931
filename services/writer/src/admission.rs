//! Discards chunks of another incarnation of their object before they are claimed: they were published before a replay, or
//! before the database was restored. Their claims would never be committed, and would supersede lines of the object that
//! has the number now. So would those of a dead chunk that a writer still has.

use std::collections::HashSet;

use jetline_core::{ChunkRange, Epoch, EpochId, Mode, ObjectId};
use jetline_store::{ChunkLedger, Error, chunks::Admission};
use tokio::sync::Mutex;

/// Maximum number of cached objects; beyond it the cache is cleared.
const MAX_CACHED_OBJECTS: usize = 10_000;

/// Checks objects against the ledger, once per epoch.
pub struct Admissions {
    ledger: ChunkLedger,
    admitted: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    epoch: Option<EpochId>,
    /// Admitted objects with their incarnations.
    objects: HashSet<(ObjectId, String)>,
}

impl Cache {
    fn contains(&self, epoch: EpochId, chunk: &ChunkRange) -> bool {
        self.epoch == Some(epoch) && self.objects.contains(&key(chunk))
    }

    fn add(&mut self, epoch: EpochId, chunks: &[&ChunkRange]) {
        if self.epoch != Some(epoch) || self.objects.len() > MAX_CACHED_OBJECTS {
            self.epoch = Some(epoch);
            self.objects.clear();
        }
        self.objects.extend(chunks.iter().map(|chunk| key(chunk)));
    }
}

fn key(chunk: &ChunkRange) -> (ObjectId, String) {
    (chunk.object, chunk.incarnation.clone())
}

impl Admissions {
    /// Checks against this ledger.
    #[must_use]
    pub fn new(ledger: ChunkLedger) -> Self {
        Self { ledger, admitted: Mutex::default() }
    }

    /// Whether chunks may be claimed under an epoch. In modes without a shared dedup store all may: claims leave no
    /// entries.
    pub async fn admit(&self, epoch: &Epoch, chunks: &[&ChunkRange]) -> Result<Admission, Error> {
        if epoch.mode != Mode::Shared {
            return Ok(Admission::All);
        }
        let mut admitted = self.admitted.lock().await;
        let new: Vec<&ChunkRange> =
            chunks.iter().filter(|chunk| !admitted.contains(epoch.id, chunk)).copied().collect();
        if !new.is_empty() {
            match self.ledger.admit(epoch.id, &new).await? {
                Admission::All => admitted.add(epoch.id, &new),
                Admission::AllNow => {}
                other => return Ok(other),
            }
        }
        Ok(Admission::All)
    }
}
