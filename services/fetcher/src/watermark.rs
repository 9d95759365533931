//! The settled watermark that the chunks of a batch of objects carry.

use jetline_core::ObjectId;
use jetline_store::{Error, ObjectLedger};

/// After how many chunks it is read again.
const CHUNKS_PER_READ: u32 = 64;

/// A recent watermark, never too high: settled objects stay settled unless they are replayed, and an object that was
/// leased before a replay has an old incarnation, whose chunks are discarded.
pub(crate) struct WatermarkCache {
    ledger: ObjectLedger,
    settled: ObjectId,
    chunks_left: u32,
}

impl WatermarkCache {
    /// Settled objects of the time of the lease or later: create it after leasing.
    pub(crate) fn new(ledger: ObjectLedger) -> Self {
        Self { ledger, settled: ObjectId::default(), chunks_left: 0 }
    }

    /// The watermark for the next chunk of an object: never above the object itself, which is not settled.
    pub(crate) async fn at_most(&mut self, object: ObjectId) -> Result<ObjectId, Error> {
        if self.chunks_left == 0 {
            self.settled = self.ledger.settled().await?;
            self.chunks_left = CHUNKS_PER_READ;
        }
        self.chunks_left -= 1;
        Ok(self.settled.min(object))
    }
}
