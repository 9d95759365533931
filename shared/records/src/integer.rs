//! Integers that serde parses as floats: those spelled as `1.0`, `1e2` or `-0`, and those beyond 64 bits.
//!
//! The usual spelling is parsed by serde alone. If serde finds a float instead of an integer, the number is parsed again
//! from the text, since the float may be rounded.

use crate::{
    Reason,
    number::{NotAnInteger, Number},
};

/// serde's names of the integers of up to 64 bits.
const INTEGERS: [&str; 8] = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"];

/// The value of a number that serde parsed as a float where it expected an integer.
pub(crate) enum FloatToken {
    /// An integer; the text with the number in the usual spelling.
    Integer(String),
    /// Not an integer of 64 bits: the reason and the message.
    Other(Reason, String),
}

/// Parses the number that caused an error again, if the error is about such a number.
pub(crate) fn reparse(text: &str, error: &serde_json::Error) -> Option<FloatToken> {
    let message = error.to_string();
    let expected = message
        .strip_prefix("invalid type: floating point ")
        .and_then(|message| message.split_once(", expected "))
        .and_then(|(_, expected)| expected.split(' ').next())
        .filter(|expected| INTEGERS.contains(expected))?;
    let (before, token, after) = number_before(text, error)?;
    let other = |reason, what| {
        let (line, column) = (error.line(), error.column());
        let message = format!("{what} {token}, expected {expected} at line {line} column {column}");
        FloatToken::Other(reason, message)
    };
    Some(match Number::read(token)?.integer() {
        Ok(integer) => FloatToken::Integer(format!("{before}{integer}{after}")),
        Err(NotAnInteger::HasFraction) => {
            other(Reason::WrongType, "invalid type: number with a fraction")
        }
        Err(NotAnInteger::OutOfRange) => other(Reason::OutOfRange, "number out of range:"),
    })
}

/// The number that ends at the error, with the text before and after it.
fn number_before<'a>(
    text: &'a str,
    error: &serde_json::Error,
) -> Option<(&'a str, &'a str, &'a str)> {
    if error.line() != 1 {
        return None;
    }
    let (read, after) = text.split_at_checked(error.column())?;
    let is_of_number = |byte: char| matches!(byte, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
    let before = read.trim_end_matches(is_of_number);
    Some((before, &read[before.len()..], after))
}
