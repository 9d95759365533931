//! Why a line was not taken.

use std::{fmt, str::FromStr};

/// The stable code of a rejection; what it is called here is what the database and the API show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not a JSON document.
    InvalidJson,
    /// Bytes that are not UTF-8.
    InvalidUtf8,
    /// A JSON value of another type than the field's.
    WrongType,
    /// A required field is not there.
    MissingField,
    /// A field stands twice in the line.
    DuplicateField,
    /// A number or a text outside its limits.
    OutOfRange,
    /// A value that the dataset's validation does not accept.
    InvalidValue,
    /// A text holds U+0000, which no database text can hold.
    NulCharacter,
    /// The line is longer than the limit.
    LineTooLong,
    /// The database refused the record.
    RefusedByDatabase,
    /// The database took the record without an error, and the row is not there: a trigger left it out.
    SuppressedByDatabase,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 11] = [
        Self::InvalidJson,
        Self::InvalidUtf8,
        Self::WrongType,
        Self::MissingField,
        Self::DuplicateField,
        Self::OutOfRange,
        Self::InvalidValue,
        Self::NulCharacter,
        Self::LineTooLong,
        Self::RefusedByDatabase,
        Self::SuppressedByDatabase,
    ];

    /// The code, in snake case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::WrongType => "wrong_type",
            Self::MissingField => "missing_field",
            Self::DuplicateField => "duplicate_field",
            Self::OutOfRange => "out_of_range",
            Self::InvalidValue => "invalid_value",
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
            .ok_or_else(|| UnknownReason {
                code: code.to_owned(),
            })
    }
}

/// Not the code of a reason.
#[derive(Debug, thiserror::Error)]
#[error("there is no reason {code:?}; there are: {}", Reason::ALL.map(Reason::code).join(", "))]
pub struct UnknownReason {
    code: String,
}

/// A reason with what exactly was wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    /// The stable code.
    pub reason: Reason,
    /// What was wrong and where in the line; for people, not stable.
    pub message: String,
}

/// How long a message can be, in bytes: it may quote the line, which is kept by itself.
const MAX_MESSAGE_BYTES: usize = 1024;

impl Rejection {
    /// A rejection for a reason, with its explanation; a long one is cut.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            let end = message.floor_char_boundary(MAX_MESSAGE_BYTES - CUT.len());
            message.truncate(end);
            message.push_str(CUT);
            // What was cut can be as long as the line, several times over.
            message.shrink_to_fit();
        }
        Self { reason, message }
    }
}

/// Stands where a message was cut.
const CUT: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_message_is_cut_between_characters() {
        let message = |text: &str| Rejection::new(Reason::WrongType, text).message;
        assert_eq!(message(&"x".repeat(1024)), "x".repeat(1024));
        assert_eq!(message(&"ö".repeat(513)), "ö".repeat(510) + "…");
    }
}
