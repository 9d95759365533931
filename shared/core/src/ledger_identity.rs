//! The identity of a ledger.

use std::{convert::Infallible, fmt, str::FromStr};

/// A ledger's random id, created with its tables, and the name of its database for display.
///
/// It is sent with chunks and recorded in the dedup store, so that two ledgers that share a queue or store by mistake are
/// detected. Identities are equal if their ids are.
#[derive(Clone, Debug, Eq)]
pub struct LedgerIdentity {
    id: String,
    database: String,
}

impl LedgerIdentity {
    /// An identity. Characters that a message header cannot contain are replaced in the name.
    #[must_use]
    pub fn new(id: &str, database: &str) -> Self {
        let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        Self {
            id: id.chars().filter(char::is_ascii_alphanumeric).collect(),
            database: database.chars().map(plain).collect(),
        }
    }

    /// What tells ledgers apart.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl PartialEq for LedgerIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl fmt::Display for LedgerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.database)
    }
}

impl FromStr for LedgerIdentity {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (id, database) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self::new(id, database))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_survives_the_round_trip_and_compares_by_id() {
        let shop = LedgerIdentity::new("0a1b", "Größe\r\n");
        let read: LedgerIdentity = shop.to_string().parse().unwrap();
        assert_eq!(read.to_string(), "0a1b Gr__e__");
        assert_eq!(read, LedgerIdentity::new("0a1b", "renamed"));
        assert_ne!(read, LedgerIdentity::new("0a1c", "renamed"));
    }
}
