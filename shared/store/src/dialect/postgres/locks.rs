//! Advisory locks of PostgreSQL.

use crate::dialect::interface::Lock;

/// The key of the advisory lock that commits hold shared; changes of the epoch and ends of objects hold it exclusively.
pub(super) const EPOCH_LOCK: i64 = 0x6a65_746c_696e_6501;

/// The key of the advisory lock for registering objects.
const REGISTRATION_LOCK: i64 = 0x6a65_746c_696e_6502;

/// The key of the advisory lock for folding changes into deliveries.
const FOLD_LOCK: i64 = 0x6a65_746c_696e_6503;

/// The function that takes a lock until the transaction ends, and the key of the lock.
pub(super) fn call(lock: Lock) -> (&'static str, i64) {
    match lock {
        Lock::EpochShared => ("pg_advisory_xact_lock_shared", EPOCH_LOCK),
        Lock::EpochExclusive => ("pg_advisory_xact_lock", EPOCH_LOCK),
        Lock::Registration => ("pg_advisory_xact_lock", REGISTRATION_LOCK),
        Lock::Fold => ("pg_advisory_xact_lock", FOLD_LOCK),
    }
}
