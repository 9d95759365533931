//! Claims: what dedup says of a record before the database is asked.
//!
//! [`Dedup`] is a port: what it promises stands in its doc comment, every adapter is one module, and all of them pass
//! the same suite, `tests/it/conformance`. Its entries may all be lost at any time; a loss is noticed and begins a
//! new epoch.
//!
//! | adapter | mode | for |
//! | --- | --- | --- |
//! | [`Redis`] | shared | any number of writers |
//! | [`InMemory`] | shared | writers in one process; the model that the tests compare with |
//! | [`WithoutStore`] | off, in order | dedup switched off; one writer that commits in order |

mod in_memory;
mod place;
mod redis;
mod without_store;

use async_trait::async_trait;
pub use in_memory::InMemory;
use jetline_records::{EpochId, Fingerprint, Key, LedgerIdentity, Mode, ObjectId, Rank, Verdict};
pub use place::Place;
pub use without_store::WithoutStore;

pub use crate::redis::{Redis, RedisConfig};

/// Holds, per record, the fingerprint and the rank of the latest line seen of it.
#[async_trait]
pub trait Dedup: Send + Sync {
    /// How it decides; stands in the ledger, so that no writer goes on beside others that decide otherwise.
    fn mode(&self) -> Mode;

    /// Judges the latest lines of some ids, each id at most once, and notes them: one atomic step.
    ///
    /// | what is held for the id | verdict | noted |
    /// | --- | --- | --- |
    /// | nothing | [`Verdict::WriteIfChanged`] | fingerprint and rank |
    /// | a higher rank | [`Verdict::Superseded`], with the position of that line | nothing |
    /// | the same fingerprint, *stored* or of an object below `trusted` | [`Verdict::Unchanged`] | the higher rank, *stored* |
    /// | anything else | [`Verdict::Write`] | fingerprint and rank |
    ///
    /// What is *stored* stands in the row, whether the line that says it again is committed or not: it was said by a line
    /// that is, and no line with another content was claimed between the two.
    ///
    /// [`Claimed::Lost`] says that entries of this epoch may be missing: nothing was judged or noted.
    /// The verdicts come in the order of the claims.
    async fn claim(
        &self,
        epoch: &EpochId,
        trusted: ObjectId,
        dataset: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error>;

    /// Makes room for an epoch, empty. Claims under any other epoch are lost from here on.
    async fn begin(&self, epoch: &EpochId) -> Result<(), Error>;

    /// Which store this is and whose epoch began there last; none where claims leave nothing behind.
    ///
    /// Nothing depends on it but what the log says, and how soon an epoch begins anew.
    async fn place(&self) -> Result<Option<Place>, Error> {
        Ok(None)
    }

    /// Says in the store whose epoch begins.
    async fn sign(&self, _ledger: &LedgerIdentity) -> Result<(), Error> {
        Ok(())
    }

    /// The epochs of which something is still held.
    async fn epochs(&self) -> Result<Vec<EpochId>, Error>;

    /// Removes all that is held of epochs that have ended, and returns how much that was, in the store's own units:
    /// keys or entries. Forgetting an epoch that has not ended ends it.
    async fn forget(&self, ended: &[EpochId]) -> Result<u64, Error>;
}

/// The latest line of one record, as a chunk has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The record's id.
    pub key: Key,
    /// What the line says.
    pub fingerprint: Fingerprint,
    /// Which line it is.
    pub rank: Rank,
}

/// The outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// One verdict per claim, in their order.
    Verdicts(Vec<Verdict>),
    /// Entries of the epoch may be missing: a new epoch is due.
    Lost,
}

/// Why a dedup store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached, does not answer, or is full; waiting helps.
    #[error("cannot {action} at the dedup store {url}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refused; waiting does not help.
    #[error("the dedup store {url} refused to {action}: {reason}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// Its reason and what to do.
        reason: String,
    },
}

impl Error {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
