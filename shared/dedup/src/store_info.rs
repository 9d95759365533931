//! Identifies a dedup store and the ledger that uses it.

use jetline_core::LedgerIdentity;

/// The identity of a dedup store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreInfo {
    /// Its address, without credentials.
    pub address: String,
    /// Independent of the address: stores of the same identity have the same entries.
    pub identity: String,
    /// The ledger whose epoch began there last, if known.
    pub ledger: Option<LedgerIdentity>,
}
