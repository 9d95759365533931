//! Constraints of columns, with the names of JSON Schema.

use std::fmt;

use chrono::{DateTime, Utc};
use regex::Regex;

use crate::{
    Reason, Rejection, expiry,
    value::{Type, Value},
};

/// Maximum size of a compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A constraint of a column's values.
#[derive(Clone, Debug)]
pub enum Constraint {
    /// At least this.
    Minimum(Value),
    /// More than this.
    ExclusiveMinimum(Value),
    /// At most this.
    Maximum(Value),
    /// At least so many characters.
    MinLength(usize),
    /// At most so many characters.
    MaxLength(usize),
    /// Matches the pattern somewhere.
    Pattern(Regex),
    /// One of these.
    Enum(Vec<Value>),
    /// A text of a format.
    Format(Format),
}

/// A format of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An address such as `ann@example.com`.
    Email,
    /// A URI with a scheme.
    Uri,
    /// Digits whose last one is their check digit by Luhn's formula, as those of a card.
    Luhn,
    /// The month until whose end a card is valid: `MM/YY` or `MM/YYYY`.
    CardExpiry,
}

impl Constraint {
    /// The constraint `name` of a column of a type.
    pub(crate) fn new(of: Type, name: &str, value: &toml::Value) -> Result<Self, String> {
        let is_number = matches!(of, Type::Bigint | Type::Numeric | Type::Double);
        let applies = match name {
            "minimum" | "exclusiveMinimum" | "maximum" => {
                is_number || matches!(of, Type::Date | Type::Timestamp)
            }
            "enum" => !matches!(of, Type::Json | Type::Double),
            _ => of == Type::Text,
        };
        if !applies {
            return Err(format!("a {of} column has no such constraint"));
        }
        let length = || usize::try_from(value.as_integer().unwrap_or(0)).unwrap_or(usize::MAX);
        let text = || value.as_str().unwrap_or_default();
        Ok(match name {
            "minimum" => Self::Minimum(read(of, value)?),
            "exclusiveMinimum" => Self::ExclusiveMinimum(read(of, value)?),
            "maximum" => Self::Maximum(read(of, value)?),
            "minLength" => Self::MinLength(length()),
            "maxLength" => Self::MaxLength(length()),
            "pattern" => Self::Pattern(pattern(text())?),
            "format" => Self::Format(match text() {
                "email" => Format::Email,
                "uri" => Format::Uri,
                "luhn" => Format::Luhn,
                "card-expiry" => Format::CardExpiry,
                other => {
                    return Err(format!(
                        "there is no format {other:?}; there are: email, uri, luhn, card-expiry"
                    ));
                }
            }),
            _ => {
                let values = value.as_array().map_or(&[][..], Vec::as_slice);
                if values.is_empty() {
                    return Err("it needs at least one value".to_owned());
                }
                let values = values.iter().map(|value| read(of, value));
                Self::Enum(values.collect::<Result<_, String>>()?)
            }
        })
    }

    /// Checks a value that is not null. A month of expiry is judged at a moment.
    pub(crate) fn check(&self, value: &Value, at: DateTime<Utc>) -> Result<(), Rejection> {
        let (holds, reason) = match self {
            Self::Minimum(least) => (compare(value, least).is_ge(), Reason::OutOfRange),
            Self::ExclusiveMinimum(below) => (compare(value, below).is_gt(), Reason::OutOfRange),
            Self::Maximum(most) => (compare(value, most).is_le(), Reason::OutOfRange),
            Self::MinLength(least) => (length(value) >= *least, Reason::InvalidValue),
            Self::MaxLength(most) => (length(value) <= *most, Reason::InvalidValue),
            Self::Pattern(pattern) => (pattern.is_match(text(value)), Reason::InvalidValue),
            Self::Enum(values) => (values.contains(value), Reason::InvalidValue),
            Self::Format(format) => (format.matches(text(value)), Reason::InvalidValue),
        };
        if !holds {
            return Err(Rejection::new(reason, self.to_string()));
        }
        match self {
            Self::Format(Format::CardExpiry)
                if expiry::end(text(value)).is_some_and(|end| end <= at) =>
            {
                Err(Rejection::new(reason, "says that the card is expired"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Constraint {
    /// What a value must be, after the column's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = |value: &Value| match value {
            Value::Text(text) => format!("{text:?}"),
            other => other.to_text(),
        };
        match self {
            Self::Minimum(least) => write!(f, "must be at least {}", json(least)),
            Self::ExclusiveMinimum(below) => write!(f, "must be more than {}", json(below)),
            Self::Maximum(most) => write!(f, "must be at most {}", json(most)),
            Self::MinLength(1) => write!(f, "must not be empty"),
            Self::MinLength(least) => write!(f, "must have at least {least} characters"),
            Self::MaxLength(most) => write!(f, "must have at most {most} characters"),
            Self::Pattern(pattern) => write!(f, "must match the pattern {pattern}"),
            Self::Enum(values) => {
                let values: Vec<String> = values.iter().map(json).collect();
                write!(f, "must be one of {}", values.join(", "))
            }
            Self::Format(Format::Email) => write!(f, "must be an email address"),
            Self::Format(Format::Uri) => write!(f, "must be a URI"),
            Self::Format(Format::Luhn) => {
                write!(f, "must be digits of which the last one is their check digit (Luhn)")
            }
            Self::Format(Format::CardExpiry) => write!(f, "must be a month as MM/YY or MM/YYYY"),
        }
    }
}

/// A value of a declaration, as the column's type.
pub(crate) fn read(of: Type, value: &toml::Value) -> Result<Value, String> {
    let text = match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(integer) => integer.to_string(),
        toml::Value::Float(float) => float.to_string(),
        toml::Value::Boolean(boolean) => boolean.to_string(),
        toml::Value::Datetime(point) => point.to_string(),
        _ => return Err(format!("{} is no value of a {of} column", value.type_str())),
    };
    of.read_text(&text).map_err(|rejection| rejection.message)
}

fn pattern(text: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build();
    built.map_err(|error| format!("{text:?} is no regular expression: {error}"))
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    use std::cmp::Ordering::Equal;
    match (a, b) {
        (Value::Bigint(a), Value::Bigint(b)) => a.cmp(b),
        (Value::Numeric(a), Value::Numeric(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        // A constraint has the type of its column.
        _ => Equal,
    }
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

fn length(value: &Value) -> usize {
    text(value).chars().count()
}

impl Format {
    fn matches(self, text: &str) -> bool {
        let is_plain =
            !text.contains(|character: char| character.is_whitespace() || character.is_control());
        is_plain
            && match self {
                Self::Email => text.split_once('@').is_some_and(|(name, host)| {
                    !name.is_empty()
                        && !host.contains('@')
                        && host.split('.').count() > 1
                        && host.split('.').all(|label| !label.is_empty())
                }),
                Self::Uri => text.split_once(':').is_some_and(|(scheme, rest)| {
                    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                        && !rest.is_empty()
                }),
                Self::Luhn => is_luhn(text),
                Self::CardExpiry => expiry::end(text).is_some(),
            }
    }
}

/// Whether the sum of the digits is a multiple of ten, where every second one from the right is doubled first, and 9 subtracted
/// if it has two digits then.
fn is_luhn(text: &str) -> bool {
    let digits = text.bytes().rev().enumerate().map(|(place, byte)| match (byte, place % 2) {
        (b'0'..=b'9', 0) => Some(u32::from(byte - b'0')),
        (b'0'..=b'9', _) => Some([0, 2, 4, 6, 8, 1, 3, 5, 7, 9][usize::from(byte - b'0')]),
        _ => None,
    });
    let sum = digits.sum::<Option<u32>>();
    text.len() > 1 && sum.is_some_and(|sum| sum.is_multiple_of(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_or_swapped_digit_is_no_luhn() {
        for valid in
            ["4111111111111111", "5500005555555559", "6011000990139424", "79927398713", "00"]
        {
            assert!(is_luhn(valid), "{valid}");
        }
        let invalid = [
            "4111111111111112",
            "5500005555555595",
            "79927398710",
            "4111 1111 1111 1111",
            "٤١١١",
            "0",
            "",
        ];
        for invalid in invalid {
            assert!(!is_luhn(invalid), "{invalid}");
        }
    }
}
