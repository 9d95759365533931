//! The settled watermark, as the chunks of a batch of objects carry it.

use jetline_records::ObjectId;
use jetline_store::{Error, Ledger};

/// It is read again after so many chunks.
const EVERY: u32 = 64;

/// What the ledger said some chunks ago: never too high, as settled objects stay so unless they are replayed, and what
/// was leased before a replay is not of the registration that counts after it.
pub(crate) struct Watermark {
    ledger: Ledger,
    settled: ObjectId,
    until: u32,
}

impl Watermark {
    /// For objects that are leased already.
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            settled: ObjectId::default(),
            until: 0,
        }
    }

    /// For the next chunk of an object: never beyond the object itself, which is not settled.
    pub(crate) async fn below(&mut self, object: ObjectId) -> Result<ObjectId, Error> {
        if self.until == 0 {
            self.settled = self.ledger.settled().await?;
            self.until = EVERY;
        }
        self.until -= 1;
        Ok(self.settled.min(object))
    }
}
