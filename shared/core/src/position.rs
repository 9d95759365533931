//! The position of a line among all lines of all objects, as one sortable number.

use std::fmt;

/// The number of an object version, assigned at registration: 1, 2, 3, … in the order of `ORDER_BY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(u32);

impl ObjectId {
    /// The largest object number: with it a position still fits a signed 64-bit column.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// The object with this number, or `None` if it does not fit 31 bits.
    pub fn new(number: i64) -> Option<Self> {
        u32::try_from(number).ok().map(Self).filter(|id| *id <= Self::MAX)
    }

    /// The number, as stored in the database.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0 as i64
    }

    /// The object registered after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// (object, line number) as one number: `object << 32 | line`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

impl Position {
    /// The position of a line, counted from 1, in an object.
    #[must_use]
    pub const fn new(object: ObjectId, line: u32) -> Self {
        Self(object.get() << 32 | line as i64)
    }

    /// The number, as stored in the database.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The position with this number, or `None` if it is negative.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        if number < 0 {
            return None;
        }
        Some(Self(number))
    }

    /// The object's number.
    #[must_use]
    pub const fn object(self) -> ObjectId {
        ObjectId((self.0.cast_unsigned() >> 32) as u32)
    }

    /// The line's number in its object, from 1.
    #[must_use]
    pub const fn line(self) -> u32 {
        (self.0.cast_unsigned() & 0xffff_ffff) as u32
    }
}

/// Decides between two lines with the same id: the record's version, then the position. The higher rank wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// The record's version; 0 in datasets without versions.
    pub version: i64,
    /// The line's position.
    pub position: Position,
}

impl Rank {
    /// The rank as a text of fixed length, whose order is that of ranks: the sequence of a delivery.
    #[must_use]
    pub fn sequence(&self) -> String {
        // The sign becomes the first bit, reversed, so that negative versions are below the others.
        let version = self.version.cast_unsigned() ^ (1 << 63);
        format!("{version:016x}-{:016x}", self.position.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_orders_by_object_then_line() {
        let object = |n| ObjectId::new(n).unwrap();
        let early = Position::new(object(1), u32::MAX);
        let late = Position::new(object(2), 1);
        assert!(early < late);
        assert_eq!((late.object(), late.line()), (object(2), 1));
        assert_eq!(early.line(), u32::MAX);
        assert!(Position::new(ObjectId::MAX, u32::MAX).get() > 0);
    }

    #[test]
    fn object_number_beyond_31_bits_is_refused() {
        assert_eq!(ObjectId::new(i64::from(i32::MAX)), Some(ObjectId::MAX));
        assert_eq!(ObjectId::new(i64::from(i32::MAX) + 1), None);
        assert_eq!(ObjectId::new(-1), None);
    }

    #[test]
    fn sequence_has_the_order_of_the_rank() {
        let ranks = [(i64::MIN, 1), (-1, 5), (0, 1), (0, 1 << 40), (1, 0), (i64::MAX, i64::MAX)];
        let ranks = ranks.map(|(version, position)| Rank { version, position: Position(position) });
        assert!(ranks.is_sorted());
        let sequences = ranks.map(|rank| rank.sequence());
        assert!(sequences.is_sorted(), "{sequences:?}");
        assert_eq!(sequences[3], "8000000000000000-0000010000000000");
    }

    #[test]
    fn version_outranks_position() {
        let rank =
            |version, line| Rank { version, position: Position::new(ObjectId::default(), line) };
        assert!(rank(2, 1) > rank(1, 9));
        assert!(rank(2, 2) > rank(2, 1));
    }
}
