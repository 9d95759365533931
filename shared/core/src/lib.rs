//! The nouns that all parts share: objects, chunks, positions, epochs, and the outcomes of lines.
//!
//! No I/O, no database, no queue.

mod change;
mod chunk;
mod epoch;
mod fingerprint;
mod key;
mod ledger_identity;
mod object;
mod position;
mod verdict;

pub use change::Change;
pub use chunk::{ChunkRange, Counts};
pub use epoch::{Epoch, EpochId, Mode};
pub use fingerprint::Fingerprint;
pub use key::Key;
pub use ledger_identity::LedgerIdentity;
pub use object::ObjectVersion;
pub use position::{ObjectId, Position, Rank};
pub use verdict::{Entry, Verdict};
