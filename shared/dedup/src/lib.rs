//! Claims: the dedup store's verdict on a record before the database is queried.
//!
//! [`Dedup`] is a port: its doc comments are its contract, every adapter is one module, and all of them pass the same
//! suite, `tests/it/conformance`; so does the reference model of the tests, `jetline_testkit::dedup::InMemory`. All entries may be lost at any time; a loss is detected and begins a new epoch.
//!
//! | adapter | mode | for |
//! | --- | --- | --- |
//! | [`Redis`] | shared | any number of writers |
//! | [`WithoutStore`] | off, in order | dedup switched off; one writer that commits in order |

mod redis;
mod settings;
mod store_info;
mod without_store;

use async_trait::async_trait;
use jetline_core::{EpochId, Fingerprint, Key, LedgerIdentity, Mode, ObjectId, Rank, Verdict};
pub use settings::{DedupMode, DedupSettings};
pub use store_info::StoreInfo;
pub use without_store::WithoutStore;

pub use crate::redis::{Redis, RedisConfig};

/// Stores, for each record, the fingerprint and the rank of the latest claimed line.
#[async_trait]
pub trait Dedup: Send + Sync {
    /// The mode; recorded in the ledger, so that writers of different modes do not run side by side.
    fn mode(&self) -> Mode;

    /// Claims the latest lines of some ids, each id at most once: decides and stores them in one atomic step.
    ///
    /// | entry of the id | verdict | stored |
    /// | --- | --- | --- |
    /// | none | [`Verdict::WriteIfChanged`] | fingerprint and rank |
    /// | a higher rank | [`Verdict::Superseded`], with the position of that line | nothing |
    /// | the same fingerprint, *stored* or of an object below `trusted` | [`Verdict::Unchanged`] | the higher rank, *stored* |
    /// | anything else | [`Verdict::Write`] | fingerprint and rank |
    ///
    /// An entry is *stored* when its content is in the row, whether its own line is committed or not: a committed line had
    /// the same content, and no line with other content was claimed between the two.
    ///
    /// [`Claimed::Lost`] means that entries of this epoch may be missing: nothing was decided or stored.
    /// The verdicts have the order of the claims.
    async fn claim(
        &self,
        epoch: &EpochId,
        trusted: ObjectId,
        dataset: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error>;

    /// Begins an epoch without entries. From now on claims under any other epoch are lost.
    async fn begin(&self, epoch: &EpochId) -> Result<(), Error>;

    /// Identifies the store, and the ledger whose epoch began there last; `None` if no entries are stored.
    ///
    /// Used only for log messages and for delays before new epochs.
    async fn store_info(&self) -> Result<Option<StoreInfo>, Error> {
        Ok(None)
    }

    /// Records in the store the ledger whose epoch begins.
    async fn set_ledger(&self, _ledger: &LedgerIdentity) -> Result<(), Error> {
        Ok(())
    }

    /// The epochs that may still have entries.
    async fn epochs(&self) -> Result<Vec<EpochId>, Error>;

    /// Removes all entries of ended epochs, and returns how many keys or entries that were. Removing those of an epoch that has
    /// not ended ends it.
    async fn remove(&self, ended: &[EpochId]) -> Result<u64, Error>;
}

/// The latest line of one record in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The record's id.
    pub key: Key,
    /// The fingerprint of its content.
    pub fingerprint: Fingerprint,
    /// The rank of the line.
    pub rank: Rank,
}

/// The outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// One verdict per claim, in order.
    Verdicts(Vec<Verdict>),
    /// Entries of the epoch may be missing: a new epoch must begin.
    Lost,
}

/// Why an operation on the dedup store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store is unavailable or full; a retry may help.
    #[error("cannot {action} at the dedup store {url}")]
    Unavailable {
        /// The operation.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store refused; a retry does not help.
    #[error("the dedup store {url} refused to {action}: {reason}")]
    Refused {
        /// The operation.
        action: &'static str,
        /// The server, without credentials.
        url: String,
        /// The reason and what to do.
        reason: String,
    },
}

impl Error {
    /// Whether a retry may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
