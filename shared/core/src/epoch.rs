//! An epoch: a period in which the dedup store lost nothing.

use std::{fmt, str::FromStr};

use rand::RngCore;

use crate::ObjectId;

/// A random id: a counter in a restored database could assign a number twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EpochId([u8; 8]);

impl EpochId {
    /// A new id.
    pub fn random(randomness: &mut impl RngCore) -> Self {
        let mut id = [0; 8];
        randomness.fill_bytes(&mut id);
        Self(id)
    }
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochId({self})")
    }
}

impl FromStr for EpochId {
    type Err = InvalidEpochId;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidEpochId(hex.to_owned());
        if hex.len() != 16 || !hex.is_ascii() {
            return Err(invalid());
        }
        let mut id = [0; 8];
        for (byte, digits) in id.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Self(id))
    }
}

/// A text is not an epoch id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an epoch id: 16 hexadecimal digits")]
pub struct InvalidEpochId(String);

/// How writers use dedup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With a store that all writers share.
    Shared,
    /// Without a store: every record is written, which is slower and equally exact.
    Off,
    /// One writer commits in the order of the lines and needs no claims; a second such writer ends the epoch of the first, which then stops.
    InOrder,
}

impl Mode {
    /// The value in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Off => "off",
            Self::InOrder => "in_order",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Shared, Self::Off, Self::InOrder]
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or_else(|| InvalidMode(word.to_owned()))
    }
}

/// A text is not a mode of dedup.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a mode of dedup: shared, off or in_order")]
pub struct InvalidMode(String);

/// An epoch in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its id.
    pub id: EpochId,
    /// Every object below this one was settled when it began. Late duplicates of their chunks claim nothing.
    pub base: ObjectId,
    /// Every object that was registered when it began is below this one. Until all of them are settled again, the table may
    /// be newer than the entries, and no entry is trusted for *unchanged*.
    pub recovery: ObjectId,
    /// The mode of its writers.
    pub mode: Mode,
    /// The names of the datasets whose records are written without claims, as in [`Mode::Off`]: the database refused a
    /// record of them, and may refuse more that would be claimed.
    pub write_through: Vec<String>,
}

impl Epoch {
    /// Whether the records of a dataset are claimed before they are written.
    #[must_use]
    pub fn claims(&self, dataset: &str) -> bool {
        self.mode == Mode::Shared && !self.write_through.iter().any(|name| name == dataset)
    }

    /// The object below which entries are trusted, if everything below `settled` is settled: `settled`, or none.
    #[must_use]
    pub fn trusted(&self, settled: ObjectId) -> ObjectId {
        if settled >= self.recovery { settled } else { ObjectId::default() }
    }
}
