//! The ledger's tables.

pub mod chunks;
pub mod objects;
pub mod rejected_lines;
