//! Which store entries are in, and whose they are.

use jetline_records::LedgerIdentity;

/// A dedup store, told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it is, without credentials.
    pub address: String,
    /// What tells it from another store, whatever its address: two of the same identity hold the same entries.
    pub identity: String,
    /// The ledger whose epoch began there last, where that is known.
    pub ledger: Option<LedgerIdentity>,
}
