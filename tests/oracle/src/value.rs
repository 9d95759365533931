//! Values of columns, as texts of which equal values have one.

use std::cmp::Ordering;

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};
use serde::Deserialize;

use crate::{Reason, decimal::Decimal, json::Json};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    Text,
    Bigint,
    Numeric,
    Double,
    Boolean,
    Date,
    Timestamp,
    Uuid,
    Json,
}

impl Type {
    /// Reads a value of a record, which is not null.
    pub(crate) fn read(self, value: &Json) -> Result<String, Reason> {
        let is_number = matches!(self, Self::Bigint | Self::Numeric | Self::Double);
        match (self, value) {
            (Self::Json, Json::Csv(text)) => Json::read(text)?.form(),
            (_, Json::Csv(text)) => self.read_text(text),
            (Self::Json, value) => value.form(),
            (Self::Boolean, Json::Boolean(boolean)) => Ok(boolean.to_string()),
            (of, Json::Number(text)) if is_number => of.read_text(text),
            (Self::Text | Self::Date | Self::Timestamp | Self::Uuid, Json::Text(text)) => {
                self.read_text(text)
            }
            _ => Err("wrong_type"),
        }
    }

    /// Reads a text, of any type but JSON.
    pub(crate) fn read_text(self, text: &str) -> Result<String, Reason> {
        let decimal = || Decimal::read(text).ok_or("wrong_type");
        match self {
            Self::Text | Self::Json if text.contains('\0') => Err("nul_character"),
            Self::Text | Self::Json => Ok(text.to_owned()),
            Self::Bigint => decimal()?.bigint().map(|integer| integer.to_string()),
            Self::Numeric => decimal()?.numeric(),
            Self::Double => decimal().and_then(|_| double(text)),
            Self::Boolean if ["true", "false"].contains(&text) => Ok(text.to_owned()),
            Self::Boolean => Err("wrong_type"),
            Self::Date => date(text).ok_or("wrong_type"),
            Self::Timestamp => timestamp(text),
            Self::Uuid => uuid(text).ok_or("wrong_type"),
        }
    }

    /// Compares two values that were read.
    pub(crate) fn compare(self, a: &str, b: &str) -> Ordering {
        match (self, Decimal::read(a), Decimal::read(b)) {
            (Self::Bigint | Self::Numeric | Self::Double, Some(a), Some(b)) => a.compare(&b),
            // Dates and times have as many digits before the point.
            _ => a.cmp(b),
        }
    }

    /// The rank of a version that was read: the integer, or microseconds.
    pub(crate) fn version(self, value: &str) -> i64 {
        match self {
            Self::Timestamp => {
                value.parse::<DateTime<Utc>>().map_or(0, |time| time.timestamp_micros())
            }
            _ => value.parse().unwrap_or_default(),
        }
    }

    /// A column as a text in a query, except for doubles, of which SQLite would show too few digits.
    pub(crate) fn selected(self, column: &str, is_sqlite: bool) -> String {
        match self {
            Self::Double => format!("{column:?}"),
            Self::Timestamp if !is_sqlite => {
                format!(
                    r#"to_char({column:?} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#
                )
            }
            _ => format!("CAST({column:?} AS TEXT)"),
        }
    }

    /// The value of a text that a database has.
    pub(crate) fn stored(self, text: String) -> String {
        match (self, text.as_str()) {
            // PostgreSQL has a spelling of JSON of its own.
            (Self::Json, _) => Json::read(&text).and_then(|json| json.form()).unwrap_or(text),
            (Self::Boolean, "1") => "true".to_owned(),
            (Self::Boolean, "0") => "false".to_owned(),
            _ => text,
        }
    }
}

fn double(text: &str) -> Result<String, Reason> {
    match text.parse::<f64>() {
        Ok(double) if double.is_finite() => Ok((double + 0.0).to_string()),
        _ => Err("out_of_range"),
    }
}

fn date(text: &str) -> Option<String> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.year() > 0)?;
    // Years of other lengths, signs and missing zeros.
    (date.to_string() == text).then(|| text.to_owned())
}

fn timestamp(text: &str) -> Result<String, Reason> {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.split(|character: char| !character.is_ascii_digit()).next();
    let is_too_fine = digits.is_some_and(|digits| digits.trim_end_matches('0').len() > 6);
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| "wrong_type")?.to_utc();
    let is_leap_second = text.get(17..19) == Some("60");
    if is_too_fine || is_leap_second || !(1..=9999).contains(&time.year()) {
        return Err("out_of_range");
    }
    Ok(time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn uuid(text: &str) -> Option<String> {
    let lengths = text.split('-').map(str::len);
    let is_digit = |character: char| character.is_ascii_hexdigit() || character == '-';
    (lengths.eq([8, 4, 4, 4, 12]) && text.chars().all(is_digit)).then(|| text.to_lowercase())
}

#[test]
fn value_is_read_as_its_column_has_it() {
    use Type::{Bigint, Boolean, Date, Double, Numeric, Text, Timestamp, Uuid};
    let id = "6BA7B810-9dad-11d1-80b4-00c04fd430c8";
    for (of, text, value) in [
        (Text, "1", Ok("1")),
        (Text, "\0", Err("nul_character")),
        (Bigint, "1.0", Ok("1")),
        (Bigint, "007", Err("wrong_type")),
        (Numeric, "1.50", Ok("1.5")),
        (Double, "1.5e3", Ok("1500")),
        (Double, "1e400", Err("out_of_range")),
        (Boolean, "1", Err("wrong_type")),
        (Date, "2026-02-29", Err("wrong_type")),
        (Date, "2026-2-1", Err("wrong_type")),
        (Timestamp, "1969-12-31T23:59:59.5+01:00", Ok("1969-12-31T22:59:59.500000Z")),
        (Timestamp, "2026-01-02T03:04:05.1234567Z", Err("out_of_range")),
        (Timestamp, "2026-01-02T03:04:60Z", Err("out_of_range")),
        (Timestamp, "2026-01-02", Err("wrong_type")),
        (Uuid, id, Ok("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
        (Uuid, &id.replace('-', ""), Err("wrong_type")),
    ] {
        assert_eq!(of.read_text(text).as_deref().map_err(|reason| *reason), value, "{of:?} {text}");
    }
    assert_eq!(Text.read(&Json::Number("1".to_owned())), Err("wrong_type"));
    assert_eq!(Type::Json.read(&Json::Csv("[1.0]".to_owned())).as_deref(), Ok("[1]"));
}
