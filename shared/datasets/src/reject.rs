//! Why a line was rejected.

use std::{fmt, str::FromStr};

/// The stable code of a rejection, as the database and the API show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not a JSON document.
    InvalidJson,
    /// Not a record of CSV: a quote is not closed, or there are more or fewer fields than in the header.
    InvalidCsv,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// A JSON value of another type than the field's.
    WrongType,
    /// A required field is missing.
    MissingField,
    /// A field occurs twice.
    DuplicateField,
    /// A number or a text outside its limits.
    OutOfRange,
    /// A value that the dataset's validation does not accept.
    InvalidValue,
    /// No column takes a field, and the declaration rejects such records.
    UnknownField,
    /// A text contains U+0000, which PostgreSQL cannot store.
    NulCharacter,
    /// The line is longer than the limit.
    LineTooLong,
    /// The database refused the record.
    RefusedByDatabase,
    /// The database reported no error, but the row does not exist: a trigger suppressed it.
    SuppressedByDatabase,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 13] = [
        Self::InvalidJson,
        Self::InvalidCsv,
        Self::InvalidUtf8,
        Self::WrongType,
        Self::MissingField,
        Self::DuplicateField,
        Self::OutOfRange,
        Self::InvalidValue,
        Self::UnknownField,
        Self::NulCharacter,
        Self::LineTooLong,
        Self::RefusedByDatabase,
        Self::SuppressedByDatabase,
    ];

    /// Whether the record is valid, and the database does not take it.
    #[must_use]
    pub const fn is_of_database(self) -> bool {
        matches!(self, Self::RefusedByDatabase | Self::SuppressedByDatabase)
    }

    /// The code, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidCsv => "invalid_csv",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::WrongType => "wrong_type",
            Self::MissingField => "missing_field",
            Self::DuplicateField => "duplicate_field",
            Self::OutOfRange => "out_of_range",
            Self::InvalidValue => "invalid_value",
            Self::UnknownField => "unknown_field",
            Self::NulCharacter => "nul_character",
            Self::LineTooLong => "line_too_long",
            Self::RefusedByDatabase => "refused_by_database",
            Self::SuppressedByDatabase => "suppressed_by_database",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.code() == code)
            .ok_or_else(|| UnknownReason { code: code.to_owned() })
    }
}

/// A text is not the code of a reason.
#[derive(Debug, thiserror::Error)]
#[error("there is no reason {code:?}; there are: {}", Reason::ALL.map(Reason::code).join(", "))]
pub struct UnknownReason {
    code: String,
}

/// A reason with an explanation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    /// The stable code.
    pub reason: Reason,
    /// What was wrong and where in the line; not stable.
    pub message: String,
}

/// The maximum length of a message, in bytes: it may quote the line, which is stored separately.
const MAX_MESSAGE_BYTES: usize = 1024;

impl Rejection {
    /// A rejection with its explanation, which is truncated if too long.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            let end = message.floor_char_boundary(MAX_MESSAGE_BYTES - ELLIPSIS.len());
            message.truncate(end);
            message.push_str(ELLIPSIS);
            // The capacity can be several times the length of the line.
            message.shrink_to_fit();
        }
        Self { reason, message }
    }

    /// The same, of a field.
    pub(crate) fn of(&self, field: &str) -> Self {
        Self::new(self.reason, format!("{field}: {}", self.message))
    }
}

/// The end of a truncated message.
const ELLIPSIS: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_message_is_truncated_between_characters() {
        let message = |text: &str| Rejection::new(Reason::WrongType, text).message;
        assert_eq!(message(&"x".repeat(1024)), "x".repeat(1024));
        assert_eq!(message(&"ö".repeat(513)), "ö".repeat(510) + "…");
    }
}
