//! The hash of a record's content: equal fingerprints mean that nothing changed.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// xxh3-128 of a record's content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of a content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(xxh3_128(content).to_be_bytes())
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

    /// Stored fingerprints must stay valid.
    #[test]
    fn fingerprint_never_changes() {
        let of = |text: &str| Fingerprint::of(text.as_bytes()).to_string();
        assert_eq!(of("a"), "a96faf705af16834e6c632b61e964e1f");
        assert_eq!(of(&"long".repeat(1000)), "cb33b540ed115d118803c932279de1df");
    }
}
