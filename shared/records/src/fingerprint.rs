//! Equal fingerprints mean that nothing changed.

use std::{fmt, io};

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3Default;

/// xxh3-128 of a record's canonical form: its fields in their declared order, as JSON without spaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of a record.
    pub fn of(record: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut hasher = Hasher(Xxh3Default::new());
        serde_json::to_writer(&mut hasher, record)?;
        Ok(Self(hasher.0.digest128().to_be_bytes()))
    }

    /// The sixteen bytes that the database and the dedup store hold.
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

struct Hasher(Xxh3Default);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
}
