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
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 10] = [
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

impl Rejection {
    /// A rejection for a reason, with its explanation.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
