//! Types of columns, and values as they are stored.

use std::{borrow::Cow, fmt, io::Write as _};

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};
use memchr::memchr;
use rust_decimal::Decimal;

use crate::{
    Reason, Rejection,
    json::{self, JsonType},
    number::{NotAnInteger, Number},
};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A text of any length.
    Text,
    /// An integer of 64 bits.
    Bigint,
    /// An exact decimal: an integer below 2^96, divided by up to 10^28.
    Numeric,
    /// A binary floating-point number of 64 bits.
    Double,
    /// `true` or `false`.
    Boolean,
    /// A date of the Gregorian calendar.
    Date,
    /// A point in time, to the microsecond.
    Timestamp,
    /// A UUID.
    Uuid,
    /// Any JSON value.
    Json,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// Of [`Type::Text`].
    Text(String),
    /// Of [`Type::Bigint`].
    Bigint(i64),
    /// Of [`Type::Numeric`], without superfluous zeros.
    Numeric(Decimal),
    /// Of [`Type::Double`]; finite.
    Double(f64),
    /// Of [`Type::Boolean`].
    Boolean(bool),
    /// Of [`Type::Date`].
    Date(NaiveDate),
    /// Of [`Type::Timestamp`], in whole microseconds.
    Timestamp(DateTime<Utc>),
    /// Of [`Type::Uuid`].
    Uuid([u8; 16]),
    /// Of [`Type::Json`], in its canonical form.
    Json(String),
}

impl Type {
    /// All types.
    pub const ALL: [Self; 9] = [
        Self::Text,
        Self::Bigint,
        Self::Numeric,
        Self::Double,
        Self::Boolean,
        Self::Date,
        Self::Timestamp,
        Self::Uuid,
        Self::Json,
    ];

    /// Its name in declarations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
            Self::Json => "json",
        }
    }

    /// Reads a value from its JSON text, which is valid and not `null`.
    pub fn read_json(self, text: &str) -> Result<Value, Rejection> {
        let kind = JsonType::of(text);
        match (self, kind) {
            (Self::Text, JsonType::String) => Ok(Value::Text(json::string(text)?.into_owned())),
            (Self::Boolean, JsonType::Boolean) => Ok(Value::Boolean(text == "true")),
            (Self::Bigint | Self::Numeric | Self::Double, JsonType::Number)
            | (Self::Date | Self::Timestamp | Self::Uuid, JsonType::String) => {
                let text = match kind {
                    JsonType::String => json::string(text)?,
                    _ => Cow::Borrowed(text),
                };
                self.read_text(&text)
            }
            (Self::Json, _) => {
                let mut form = String::with_capacity(text.len());
                json::canonical(text, &mut form)?;
                Ok(Value::Json(form))
            }
            (expected, kind) => {
                let message = format!("{} is not {}", kind.name(), expected.description());
                Err(Rejection::new(Reason::WrongType, message))
            }
        }
    }

    /// Reads a value from a text, such as a key in a path. Numbers have the spellings of JSON.
    pub fn read_text(self, text: &str) -> Result<Value, Rejection> {
        let has_leading_zero = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            digits.starts_with('0') && digits[1..].starts_with(|next: char| next.is_ascii_digit())
        };
        match self {
            Self::Bigint | Self::Numeric | Self::Double if has_leading_zero() => {
                Err(self.wrong(text))
            }
            Self::Text if memchr(0, text.as_bytes()).is_some() => {
                let message = "a text holds the character U+0000";
                Err(Rejection::new(Reason::NulCharacter, message))
            }
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Bigint => bigint(text).map(Value::Bigint),
            Self::Numeric => numeric(text).map(Value::Numeric),
            Self::Double => double(text).map(Value::Double),
            Self::Boolean => match text {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                _ => Err(self.wrong(text)),
            },
            Self::Date => date(text).map(Value::Date).ok_or_else(|| self.wrong(text)),
            Self::Timestamp => timestamp(text).map(Value::Timestamp),
            Self::Uuid => uuid(text).map(Value::Uuid).ok_or_else(|| self.wrong(text)),
            Self::Json => {
                let raw: &serde_json::value::RawValue =
                    serde_json::from_str(text).map_err(|error| json::invalid(&error))?;
                self.read_json(raw.get())
            }
        }
    }

    /// What a value must be, as in "a string is not an integer".
    const fn description(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Bigint => "an integer",
            Self::Numeric | Self::Double => "a number",
            Self::Boolean => "true or false",
            Self::Date => "a date such as \"2026-11-26\"",
            Self::Timestamp => "a timestamp such as \"2026-11-26T12:00:00Z\"",
            Self::Uuid => "a UUID",
            Self::Json => "a JSON value",
        }
    }

    fn wrong(self, text: &str) -> Rejection {
        let message = format!("{text:?} is not {}", self.description());
        Rejection::new(Reason::WrongType, message)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn out_of_range(text: &str, of: &str) -> Rejection {
    Rejection::new(Reason::OutOfRange, format!("{text} is out of the range of {of}"))
}

fn bigint(text: &str) -> Result<i64, Rejection> {
    if let Ok(integer) = text.parse()
        && !text.starts_with('+')
    {
        return Ok(integer);
    }
    let number = Number::read(text).ok_or_else(|| Type::Bigint.wrong(text))?;
    match number.integer() {
        Ok(integer) => i64::try_from(integer).map_err(|_| out_of_range(text, "bigint")),
        Err(NotAnInteger::OutOfRange) => Err(out_of_range(text, "bigint")),
        Err(NotAnInteger::HasFraction) => {
            Err(Rejection::new(Reason::WrongType, format!("{text} has a fraction")))
        }
    }
}

fn numeric(text: &str) -> Result<Decimal, Rejection> {
    // The usual spelling first, which is the fastest to parse; it takes `_` and `+` too.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    let number = || Number::read(text).ok_or_else(|| Type::Numeric.wrong(text));
    if is_plain && let Ok(decimal) = Decimal::from_str_exact(text) {
        if !text.ends_with('.') && !text.starts_with(['.']) && !text.starts_with("-.") {
            return Ok(decimal.normalize());
        }
        return Err(Type::Numeric.wrong(text));
    }
    let (coefficient, scale) =
        number()?.scaled(Decimal::MAX_SCALE).ok_or_else(|| out_of_range(text, "numeric"))?;
    Decimal::try_from_i128_with_scale(coefficient, scale)
        .map(|decimal| decimal.normalize())
        .map_err(|_| out_of_range(text, "numeric"))
}

fn double(text: &str) -> Result<f64, Rejection> {
    Number::read(text).ok_or_else(|| Type::Double.wrong(text))?;
    let double: f64 = text.parse().map_err(|_| Type::Double.wrong(text))?;
    if double.is_infinite() {
        return Err(out_of_range(text, "double"));
    }
    // -0 is 0.
    Ok(double + 0.0)
}

fn date(text: &str) -> Option<NaiveDate> {
    let is_plain =
        text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if !is_plain {
        return None;
    }
    // PostgreSQL writes a year 0 in another way.
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.year() > 0)
}

/// RFC 3339. A leap second and more digits than microseconds are not representable.
fn timestamp(text: &str) -> Result<DateTime<Utc>, Rejection> {
    let wrong = || Type::Timestamp.wrong(text);
    let (date, time) = text.split_at_checked(10).ok_or_else(wrong)?;
    self::date(date).ok_or_else(wrong)?;
    if time.get(7..9) == Some("60") {
        return Err(Rejection::new(Reason::OutOfRange, format!("{text:?} is a leap second")));
    }
    let point = DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?;
    let fraction = time.get(9..).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if fraction[..digits].trim_end_matches('0').len() > 6 {
        let message = format!("{text:?} has more digits than microseconds");
        return Err(Rejection::new(Reason::OutOfRange, message));
    }
    let time = point.to_utc();
    if !(1..=9999).contains(&time.year()) {
        return Err(out_of_range(text, "timestamp"));
    }
    Ok(time)
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let is_hyphen = |index: usize| matches!(index, 8 | 13 | 18 | 23);
    let mut bytes = [0; 16];
    let mut digits = 0;
    if text.len() != 36 {
        return None;
    }
    for (index, character) in text.char_indices() {
        if is_hyphen(index) {
            if character != '-' {
                return None;
            }
            continue;
        }
        let digit = u8::try_from(character.to_digit(16)?).ok()?;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

impl Value {
    /// Whether there is none.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value as a text that [`Type::read_text`] reads; empty if there is none. Texts of dates and timestamps are in the
    /// order of time.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Text(text) | Self::Json(text) => text.clone(),
            Self::Bigint(integer) => integer.to_string(),
            Self::Numeric(decimal) => decimal.to_string(),
            Self::Double(double) => double.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::Date(date) => date.to_string(),
            Self::Timestamp(time) => time.to_rfc3339_opts(SecondsFormat::Micros, true),
            Self::Uuid(bytes) => Hyphenated(bytes).to_string(),
        }
    }

    /// Its rank as a version: the integer, or the microseconds since 1970.
    pub(crate) const fn version(&self) -> i64 {
        match self {
            Self::Bigint(version) => *version,
            Self::Timestamp(time) => time.timestamp_micros(),
            _ => 0,
        }
    }

    /// Appends the value as JSON.
    pub fn write_json(&self, json: &mut Vec<u8>) {
        // Writing to a vector does not fail.
        let _ = match self {
            Self::Null => write!(json, "null"),
            Self::Text(text) => {
                json::write_string(text, json);
                Ok(())
            }
            Self::Bigint(integer) => write!(json, "{integer}"),
            Self::Numeric(decimal) => write!(json, "{decimal}"),
            Self::Double(double) => write!(json, "{}", serde_json::Value::from(*double)),
            Self::Boolean(boolean) => write!(json, "{boolean}"),
            Self::Date(date) => write!(json, "\"{date}\""),
            Self::Timestamp(time) => {
                write!(json, "\"{}\"", time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            Self::Uuid(bytes) => write!(json, "\"{}\"", Hyphenated(bytes)),
            Self::Json(text) => write!(json, "{text}"),
        };
    }
}

/// The text of a UUID.
struct Hyphenated<'a>(&'a [u8; 16]);

impl fmt::Display for Hyphenated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    fn read(of: Type, text: &str) -> Result<String, Reason> {
        let value = of.read_json(text).map_err(|rejection| rejection.reason)?;
        let mut json = Vec::new();
        value.write_json(&mut json);
        Ok(String::from_utf8(json).unwrap())
    }

    #[test]
    fn value_is_given_back_as_it_came_or_in_its_usual_form() {
        for (of, text, expected) in [
            (Type::Text, r#""a\u0041\n""#, r#""aA\n""#),
            (Type::Bigint, "9007199254740993", "9007199254740993"),
            (Type::Bigint, "1.0", "1"),
            (Type::Bigint, "-0", "0"),
            (Type::Numeric, "7072.160", "7072.16"),
            (Type::Numeric, "1e2", "100"),
            (Type::Numeric, "123456789012345678901234567.8", "123456789012345678901234567.8"),
            (Type::Double, "1.5e300", "1.5e+300"),
            (Type::Double, "-0", "0.0"),
            (Type::Boolean, "true", "true"),
            (Type::Date, r#""1969-12-31""#, r#""1969-12-31""#),
            (Type::Timestamp, r#""1969-12-31T23:59:59.5+01:00""#, r#""1969-12-31T22:59:59.500Z""#),
            (
                Type::Timestamp,
                r#""2026-01-02T03:04:05.1234560Z""#,
                r#""2026-01-02T03:04:05.123456Z""#,
            ),
            (
                Type::Uuid,
                r#""6BA7B810-9dad-11d1-80b4-00c04fd430c8""#,
                r#""6ba7b810-9dad-11d1-80b4-00c04fd430c8""#,
            ),
            (Type::Json, r#"{"b":1.0,"a":null}"#, r#"{"a":null,"b":1}"#),
        ] {
            assert_eq!(read(of, text).as_deref(), Ok(expected), "{of} {text}");
        }
    }

    #[test]
    fn value_that_does_not_fit_is_rejected_with_the_reason() {
        for (of, text, reason) in [
            (Type::Text, "1", Reason::WrongType),
            (Type::Text, r#""\u0000""#, Reason::NulCharacter),
            (Type::Text, r#""\ud800""#, Reason::InvalidJson),
            (Type::Bigint, "9223372036854775808", Reason::OutOfRange),
            (Type::Bigint, "1e400", Reason::OutOfRange),
            (Type::Bigint, "1.5", Reason::WrongType),
            (Type::Bigint, r#""1""#, Reason::WrongType),
            (Type::Numeric, "1e40", Reason::OutOfRange),
            (Type::Numeric, "0.12345678901234567890123456789", Reason::OutOfRange),
            (Type::Double, "1e400", Reason::OutOfRange),
            (Type::Boolean, "1", Reason::WrongType),
            (Type::Date, r#""2026-02-29""#, Reason::WrongType),
            (Type::Date, r#""2026-2-1""#, Reason::WrongType),
            (Type::Timestamp, r#""2026-01-02T03:04:05""#, Reason::WrongType),
            (Type::Timestamp, r#""2016-12-31T23:59:60Z""#, Reason::OutOfRange),
            (Type::Timestamp, r#""2026-01-02T03:04:05.1234567Z""#, Reason::OutOfRange),
            (Type::Uuid, r#""6ba7b8109dad11d180b400c04fd430c8""#, Reason::WrongType),
        ] {
            assert_eq!(read(of, text), Err(reason), "{of} {text}");
        }
    }

    #[test]
    fn exact_decimal_is_accepted_in_every_spelling() {
        let zeros = "0".repeat(100_000);
        let largest = Decimal::MAX.to_string();
        let smallest = format!("0.{}1", "0".repeat(27));
        for (token, form) in [
            (&*format!("19.99{zeros}"), "19.99"),
            ("-0.0", "0"),
            ("12345678901234567890.12345678", "12345678901234567890.12345678"),
            (&format!("-1.{zeros}"), "-1"),
            ("0e999999999999999999999", "0"),
            ("0.0e-40", "0"),
            (&format!("1{zeros}e-100000"), "1"),
            (&format!("0.{zeros}1e100000"), "0.1"),
            ("1.0E-0000000000000000000000028", &smallest),
            ("10e-29", &smallest),
            ("1e28", "10000000000000000000000000000"),
            (&format!("{largest}.{zeros}"), &largest),
            (&format!("0.{largest}e29"), &largest),
        ] {
            assert_eq!(read(Type::Numeric, token).as_deref(), Ok(form), "{token:.40}");
        }
    }

    #[test]
    fn decimal_that_does_not_fit_is_rejected_not_rounded() {
        let nines = "9".repeat(100_000);
        for token in [
            "1e40",
            "1e-40",
            "1e29",
            "1e-29",
            "15e-29",
            "1e999999999999999999999",
            "1e-999999999999999999999",
            "0.12345678901234567890123456789012345",
            "79228162514264337593543950336",
            "79228162514264337593543950335.1",
            "-79228162514264337593543950336",
            &nines,
            &format!("0.{nines}"),
        ] {
            assert_eq!(read(Type::Numeric, token), Err(Reason::OutOfRange), "{token:.40}");
        }
    }

    proptest! {
        #[test]
        fn spelling_does_not_change_the_decimal(
            coefficient in -(1_i128 << 96) + 1..1_i128 << 96,
            scale in 0_u32..29,
            count in 0_usize..60,
        ) {
            let plain = Decimal::from_i128_with_scale(coefficient, scale).normalize();
            let zeros = "0".repeat(count);
            for spelling in [
                format!("{coefficient}{zeros}e-{}", count + scale as usize),
                format!("{coefficient}.0{zeros}E-{scale}"),
                format!("{plain}e0"),
            ] {
                let value = Type::Numeric.read_text(&spelling);
                prop_assert_eq!(value, Ok(Value::Numeric(plain)), "{}", spelling);
            }
        }
    }

    #[test]
    fn text_is_no_number_in_spellings_that_json_has_not() {
        for text in ["+1", "007", "-01", "00.5", "1_0", ".5", "5.", "0x1", "NaN", "inf", " 1", ""] {
            for of in [Type::Bigint, Type::Numeric, Type::Double] {
                let rejected = of.read_text(text).map_err(|rejection| rejection.reason);
                assert_eq!(rejected, Err(Reason::WrongType), "{of} {text:?}");
            }
        }
    }
}
