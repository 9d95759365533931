//! Integers that serde takes for floats: those spelled as `1.0`, `1e2` or `-0`, and those beyond 64 bits.
//!
//! serde's own reading stays the only one for the usual spelling. Where it finds a float, the number is looked at again
//! in the text, as its float may be rounded.

use crate::{
    Reason,
    number::{NotAnInteger, Number},
};

/// What serde calls the integers of 64 bits and fewer.
const INTEGERS: [&str; 8] = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"];

/// What a number is that serde took for a float where it expected an integer.
pub(crate) enum Misread {
    /// An integer; the text with it spelled as serde expects it.
    Integer(String),
    /// No integer, or none of 64 bits: why, in words too.
    Other(Reason, String),
}

/// Looks at the number that an error of reading a text is about, if it is about such a number.
pub(crate) fn misread(text: &str, error: &serde_json::Error) -> Option<Misread> {
    let words = error.to_string();
    let expected = words
        .strip_prefix("invalid type: floating point ")
        .and_then(|words| words.split_once(", expected "))
        .and_then(|(_, expected)| expected.split(' ').next())
        .filter(|expected| INTEGERS.contains(expected))?;
    let (before, token, behind) = number_before(text, error)?;
    let other = |reason, what| {
        let (line, column) = (error.line(), error.column());
        let words = format!("{what} {token}, expected {expected} at line {line} column {column}");
        Misread::Other(reason, words)
    };
    Some(match Number::read(token)?.integer() {
        Ok(integer) => Misread::Integer(format!("{before}{integer}{behind}")),
        Err(NotAnInteger::HasFraction) => {
            other(Reason::WrongType, "invalid type: number with a fraction")
        }
        Err(NotAnInteger::OutOfRange) => other(Reason::OutOfRange, "number out of range:"),
    })
}

/// The number that ends where the error is, with what is before and behind it.
fn number_before<'a>(
    text: &'a str,
    error: &serde_json::Error,
) -> Option<(&'a str, &'a str, &'a str)> {
    if error.line() != 1 {
        return None;
    }
    let (read, behind) = text.split_at_checked(error.column())?;
    let is_of_number = |byte: char| matches!(byte, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
    let before = read.trim_end_matches(is_of_number);
    Some((before, &read[before.len()..], behind))
}
