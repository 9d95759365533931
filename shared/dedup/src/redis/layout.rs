//! The keys and entries in Redis: packed in small hashes, which Redis stores as listpacks.
//!
//! | key | value |
//! | --- | --- |
//! | `PREFIX:epoch` | the current epoch |
//! | `PREFIX:ledger` | the ledger whose epoch began last |
//! | `PREFIX:epochs` | the set of epochs that may have entries |
//! | `PREFIX:EPOCH:DATASET:NUMBER` | a hash of the entries of 64 neighbouring integer ids |
//! | `PREFIX:EPOCH:DATASET:tNUMBER` | a hash of the entries of the text ids in one of 2²⁰ buckets |
//!
//! A hash is a listpack with up to 128 fields, and with fields and values of up to 64 bytes (`hash-max-listpack-*`).
//! Measured on Redis 7.0, in total:
//!
//! | ids | bytes a record |
//! | --- | --- |
//! | integers, dense | 33 |
//! | integers, each far from the next | 152 |
//! | texts of twelve characters: 1, 10, 75 million | 117, 55, 44 |
//!
//! The entry of a record that was unchanged once has one byte more.
//!
//! More buckets would take more memory for few text ids. With fewer, hashes would stop being listpacks at fewer ids: now at
//! about a hundred million, above which `hash-max-listpack-entries` should be raised on the server. A text id longer than
//! 64 bytes is stored too, in a hash that is not a listpack.

use std::fmt::{self, Display};

use jetline_core::{EpochId, Key, Rank};
use xxhash_rust::xxh3::xxh3_64;

use crate::Claim;

/// Integer ids per hash. Half as many take 2 bytes more per record, and are not measurably faster.
const IDS_PER_HASH: i64 = 64;

/// The number of hashes for text ids.
const TEXT_BUCKETS: u64 = 1 << 20;

/// The names of a deployment's keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The key of the current epoch.
    pub(super) fn epoch(&self) -> String {
        format!("{}:epoch", self.prefix)
    }

    /// The key of the set of epochs that may have entries.
    pub(super) fn epochs(&self) -> String {
        format!("{}:epochs", self.prefix)
    }

    /// The key of the ledger whose epoch began last.
    pub(super) fn ledger(&self) -> String {
        format!("{}:ledger", self.prefix)
    }

    /// The prefix of all keys.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a bucket's entries.
    pub(super) fn bucket(&self, epoch: EpochId, dataset: &str, bucket: Bucket) -> String {
        format!("{}:{epoch}:{dataset}:{bucket}", self.prefix)
    }

    /// The pattern of all keys of an epoch's entries, for `SCAN`.
    pub(super) fn pattern(&self, epoch: EpochId) -> String {
        let mut pattern = String::new();
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        format!("{pattern}:{epoch}:*")
    }
}

/// The hash of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bucket {
    Int(i64),
    Text(u64),
}

impl Bucket {
    pub(super) fn of(key: &Key) -> Self {
        match key {
            Key::Int(id) => Self::Int(id.div_euclid(IDS_PER_HASH)),
            Key::Text(id) => Self::Text(xxh3_64(id.as_bytes()) % TEXT_BUCKETS),
        }
    }
}

impl Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Text(number) => write!(f, "t{number}"),
        }
    }
}

/// The field of an id in its hash: 0 to 63, which Redis stores in a byte, or the text.
pub(super) fn field(key: &Key) -> String {
    match key {
        Key::Int(id) => id.rem_euclid(IDS_PER_HASH).to_string(),
        Key::Text(id) => id.clone(),
    }
}

/// The entry of a record: the version unless it is 0, the position, the fingerprint. The script appends a byte when the
/// row already has this content.
pub(super) fn entry(claim: &Claim) -> Vec<u8> {
    let Rank { version, position } = claim.rank;
    let mut entry = Vec::with_capacity(32);
    if version != 0 {
        // With the sign bit flipped, negative versions sort before the others.
        entry.extend((version ^ i64::MIN).to_be_bytes());
    }
    entry.extend(position.get().to_be_bytes());
    entry.extend(claim.fingerprint.as_bytes());
    entry
}

#[cfg(test)]
mod tests {
    use jetline_core::{Fingerprint, ObjectId, Position};

    use super::*;

    #[test]
    fn integer_ids_share_a_hash_with_their_neighbours() {
        let place = |id| {
            let key = Key::Int(id);
            (Bucket::of(&key).to_string(), field(&key))
        };
        assert_eq!(place(0), ("0".into(), "0".into()));
        assert_eq!(place(63), ("0".into(), "63".into()));
        assert_eq!(place(64), ("1".into(), "0".into()));
        assert_eq!(place(-1), ("-1".into(), "63".into()));
        assert_eq!(place(-64), ("-1".into(), "0".into()));
        assert_eq!(place(i64::MIN), ((i64::MIN / 64).to_string(), "0".into()));
        assert_eq!(place(i64::MAX), ((i64::MAX / 64).to_string(), "63".into()));
    }

    #[test]
    fn entry_begins_with_the_version_if_there_is_one() {
        let entry = |version| {
            entry(&Claim {
                key: Key::Int(1),
                fingerprint: Fingerprint::from([7; 16]),
                rank: Rank { version, position: Position::new(ObjectId::MAX, u32::MAX) },
            })
        };
        assert_eq!(entry(0).len(), 24);
        assert_eq!(entry(0)[..8], [127, 255, 255, 255, 255, 255, 255, 255]);
        let versions = [i64::MIN, -1, 1, i64::MAX].map(entry);
        assert!(versions.iter().all(|entry| entry.len() == 32));
        assert!(versions.is_sorted());
    }

    #[test]
    fn pattern_takes_the_prefix_literally() {
        let epoch = "0123456789abcdef".parse().unwrap();
        let pattern = Keys::new(r"a*[b]\?").pattern(epoch);
        assert_eq!(pattern, r"a\*\[b\]\\\?:0123456789abcdef:*");
    }
}
