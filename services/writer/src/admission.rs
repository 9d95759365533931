//! Keeps chunks from being claimed whose object is not registered as they say.
//!
//! They come from before the database was restored. Their claims would never be committed, and stand above lines of
//! the object that has the number now.

use std::collections::HashSet;

use jetline_records::{Epoch, EpochId, Mode, ObjectId};
use jetline_store::{ChunkEntry, Error, Ledger, ledger::Admission};
use tokio::sync::Mutex;

/// How many objects are known at a time.
const KNOWN: usize = 10_000;

/// Looks objects up, once per epoch.
pub struct Admissions {
    ledger: Ledger,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    epoch: Option<EpochId>,
    /// Objects and their registrations.
    objects: HashSet<(ObjectId, String)>,
}

impl Known {
    fn holds(&self, epoch: EpochId, chunk: &ChunkEntry) -> bool {
        self.epoch == Some(epoch) && self.objects.contains(&key(chunk))
    }

    fn add(&mut self, epoch: EpochId, chunks: &[&ChunkEntry]) {
        if self.epoch != Some(epoch) || self.objects.len() > KNOWN {
            self.epoch = Some(epoch);
            self.objects.clear();
        }
        self.objects.extend(chunks.iter().map(|chunk| key(chunk)));
    }
}

fn key(chunk: &ChunkEntry) -> (ObjectId, String) {
    (chunk.object, chunk.registration.clone())
}

impl Admissions {
    /// Admissions by a ledger.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            known: Mutex::default(),
        }
    }

    /// Whether chunks may be claimed under an epoch. Where claims leave nothing behind, all may.
    pub async fn admit(&self, epoch: &Epoch, chunks: &[&ChunkEntry]) -> Result<Admission, Error> {
        if epoch.mode != Mode::Shared {
            return Ok(Admission::All);
        }
        let mut known = self.known.lock().await;
        let new: Vec<&ChunkEntry> = chunks
            .iter()
            .filter(|chunk| !known.holds(epoch.id, chunk))
            .copied()
            .collect();
        if !new.is_empty() {
            match self.ledger.admit(epoch.id, &new).await? {
                Admission::All => known.add(epoch.id, &new),
                other => return Ok(other),
            }
        }
        Ok(Admission::All)
    }
}
