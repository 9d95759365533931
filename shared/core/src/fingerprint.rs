//! The hash of a record's content: equal fingerprints mean that nothing changed.

use std::fmt;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

/// The initial capacity of the buffer for the canonical form.
const INITIAL_CAPACITY: usize = 1024;

/// xxh3-128 of a record's canonical form: its fields in their declared order, as JSON without spaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of a record.
    pub fn of(record: &impl Serialize) -> Result<Self, serde_json::Error> {
        // Serialized to a buffer first: one call of the hash instead of one for each small write of the serializer.
        let mut form = Vec::with_capacity(INITIAL_CAPACITY);
        serde_json::to_writer(&mut form, record)?;
        Ok(Self(xxh3_128(&form).to_be_bytes()))
    }

    /// The sixteen bytes, as stored in the database and the dedup store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for Fingerprint {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Fingerprint {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_covers_every_field_and_nothing_else() {
        let of = |value: &(i64, &str)| Fingerprint::of(value).unwrap();
        assert_eq!(of(&(1, "a")), of(&(1, "a")));
        assert_ne!(of(&(1, "a")), of(&(1, "b")));
        assert_ne!(of(&(1, "a")), of(&(2, "a")));
    }

    /// Stored fingerprints must stay valid.
    #[test]
    fn fingerprint_never_changes() {
        let of = |text: &str| Fingerprint::of(&(1, text)).unwrap().to_string();
        assert_eq!(of("a"), "e07e767b2afda34d2c2547101bc3bd25");
        assert_eq!(of(&"long".repeat(1000)), "9a229cf63fd9f845c23e4952907d7101");
    }
}
