//! Which ledger something belongs to.

use std::{convert::Infallible, fmt, str::FromStr};

/// A ledger's random id, from when its tables were made, and for people the name of its database.
///
/// It travels with chunks and stands in the dedup store, so that two ledgers that share one by mistake are told apart. Two
/// are the same if their ids are.
#[derive(Clone, Debug, Eq)]
pub struct LedgerIdentity {
    id: String,
    database: String,
}

impl LedgerIdentity {
    /// The identity of an id; of the name whatever can stand in a header of a message.
    #[must_use]
    pub fn new(id: &str, database: &str) -> Self {
        let plain = |c: char| if c.is_ascii_graphic() { c } else { '_' };
        Self {
            id: id.chars().filter(char::is_ascii_alphanumeric).collect(),
            database: database.chars().map(plain).collect(),
        }
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
    fn identity_is_the_id_and_is_read_as_it_is_written() {
        let shop = LedgerIdentity::new("0a1b", "Größe\r\n");
        let read: LedgerIdentity = shop.to_string().parse().unwrap();
        assert_eq!(read.to_string(), "0a1b Gr__e__");
        assert_eq!(read, LedgerIdentity::new("0a1b", "renamed"));
        assert_ne!(read, LedgerIdentity::new("0a1c", "renamed"));
    }
}
