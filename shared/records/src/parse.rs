//! Parses one line into a row that the database can store.

use std::borrow::Cow;

use sea_orm::{EntityTrait, Iterable, Value};
use serde_json::error::Category;

use crate::{
    Reason, Record, RecordId, Rejection, Row,
    integer::{self, FloatToken},
    row,
};
use jetline_core::{Fingerprint, Key};

/// The maximum length of a text id, in bytes: well below the limit of PostgreSQL's index.
pub const MAX_ID_BYTES: usize = 1024;

/// Parses and validates a line. Every valid record can be stored.
pub fn parse<R: Record>(line: &[u8]) -> Result<Row, Rejection> {
    let text = std::str::from_utf8(line).map_err(|error| not_utf8(&error))?;
    object_only(text)?;
    let record: R = record(text)?;
    record.validate()?;
    let key = record.id().key();
    if let Key::Text(id) = &key
        && id.len() > MAX_ID_BYTES
    {
        return Err(Rejection::new(
            Reason::OutOfRange,
            format!("{} is longer than {MAX_ID_BYTES} bytes", R::ID_COLUMN),
        ));
    }
    let version = record.version();
    let fingerprint = Fingerprint::of(&record)
        .map_err(|error| Rejection::new(Reason::InvalidValue, error.to_string()))?;
    let values = row::values(record);
    if values.iter().any(holds_nul) {
        let message = "a text holds the character U+0000";
        return Err(Rejection::new(Reason::NulCharacter, message));
    }
    Ok(Row { key, version, fingerprint, values })
}

/// Parses a record without validating it. Numbers may have any spelling of JSON.
pub fn record<R: Record>(text: &str) -> Result<R, Rejection> {
    serde_json::from_str(text).or_else(|error| parse_again(text, error))
}

/// Parses a record with integers of unusual spelling. Only such lines and rejected ones have this cost.
fn parse_again<R: Record>(line: &str, mut error: serde_json::Error) -> Result<R, Rejection> {
    let mut text = Cow::Borrowed(line);
    // One integer per iteration; a record has at most as many as columns.
    for _ in <R::Table as EntityTrait>::Column::iter() {
        let normalized = match integer::reparse(&text, &error) {
            Some(FloatToken::Integer(normalized)) => normalized,
            Some(FloatToken::Other(reason, message)) => {
                let field = field::<R>(&text).unwrap_or_default();
                return Err(Rejection::new(reason, field + &message));
            }
            None => break,
        };
        error = match serde_json::from_str(&normalized) {
            Ok(record) => return Ok(record),
            Err(error) => error,
        };
        text = Cow::Owned(normalized);
    }
    let mut rejection = not_a_record::<R>(&text, &error);
    // After a replaced integer, line and column are not those of the line.
    if let (Cow::Owned(_), Some(at)) = (&text, rejection.message.rfind(" at line ")) {
        rejection.message.truncate(at);
    }
    Err(rejection)
}

/// Rejects arrays, which serde would accept for a struct.
fn object_only(text: &str) -> Result<(), Rejection> {
    if !text.trim_ascii_start().starts_with('[') {
        return Ok(());
    }
    Err(match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Rejection::new(Reason::WrongType, "invalid type: sequence, expected an object"),
        Err(error) => Rejection::new(Reason::InvalidJson, error.to_string()),
    })
}

fn holds_nul(value: &Value) -> bool {
    matches!(value, Value::String(Some(text)) if text.contains('\0'))
}

fn not_utf8(error: &std::str::Utf8Error) -> Rejection {
    let message = format!("not UTF-8 at byte {} of the line", error.valid_up_to());
    Rejection::new(Reason::InvalidUtf8, message)
}

fn not_a_record<R: Record>(text: &str, error: &serde_json::Error) -> Rejection {
    let field = field::<R>(text).unwrap_or_default();
    Rejection::new(reason(error), format!("{field}{error}"))
}

/// Parses the line again to name the invalid field. Only rejected lines have this cost.
fn field<R: Record>(text: &str) -> Option<String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let error = serde_path_to_error::deserialize::<_, R>(&mut deserializer).err()?;
    let is_known = error.path().iter().len() > 0;
    is_known.then(|| format!("{}: ", error.path()))
}

/// serde's errors have no codes, only messages; the tests below cover those that are matched here.
fn reason(error: &serde_json::Error) -> Reason {
    if error.classify() != Category::Data {
        let out_of_range = error.to_string().starts_with("number out of range");
        return if out_of_range { Reason::OutOfRange } else { Reason::InvalidJson };
    }
    let message = error.to_string();
    let starts = |prefix| message.starts_with(prefix);
    if starts("missing field") {
        Reason::MissingField
    } else if starts("duplicate field") {
        Reason::DuplicateField
    } else if starts("number out of range") || starts("invalid value: integer") {
        Reason::OutOfRange
    } else if starts("invalid type") {
        Reason::WrongType
    } else {
        Reason::InvalidValue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::products;

    const GOOD: &str = r#"{"id":1,"title":"t","price":7072.16,"category":"c","brand":"b","url":"u","description":"d"}"#;

    fn rejection(line: impl AsRef<[u8]>) -> (Reason, String) {
        let rejection = parse::<products::Model>(line.as_ref()).unwrap_err();
        (rejection.reason, rejection.message)
    }

    fn with(field: &str, value: &str) -> String {
        let mut line: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(GOOD).unwrap();
        line.remove(field);
        let rest = serde_json::to_string(&line).unwrap();
        format!(r#"{{"{field}":{value},{}"#, &rest[1..])
    }

    #[test]
    fn valid_line_becomes_a_row_in_column_order() {
        let row = parse::<products::Model>(GOOD.as_bytes()).unwrap();
        assert_eq!(row.key, Key::Int(1));
        assert_eq!(row.values.len(), 7);
        assert_eq!(row.values[1], Value::from("t"));
    }

    #[test]
    fn fingerprint_ignores_spelling() {
        let spaced = GOOD.replace(':', " : ").replace("7072.16", "7072.160");
        let parse = |line: &str| parse::<products::Model>(line.as_bytes()).unwrap();
        assert_eq!(parse(GOOD), parse(&spaced));
    }

    #[test]
    fn integer_is_accepted_in_every_spelling() {
        let parse = |line: &str| parse::<products::Model>(line.as_bytes());
        let zeros = "0".repeat(1000);
        for id in ["1.0", "10e-1", "0.1E1", "1e0", &format!("1{zeros}e-1000")] {
            assert_eq!(parse(&with("id", id)), parse(GOOD), "{id}");
        }
        let largest = parse(&with("id", "9223372036854775807.0")).unwrap();
        assert_eq!(largest.key, Key::Int(i64::MAX));
    }

    #[test]
    fn invalid_integer_is_quoted_as_in_the_line() {
        let (_, message) = rejection(with("id", "1.00000000000000000000001"));
        assert_eq!(
            message,
            "id: invalid type: number with a fraction 1.00000000000000000000001, expected i64 at line 1 column 31"
        );
        let (_, message) = rejection(with("id", "18446744073709551616"));
        assert_eq!(
            message,
            "id: number out of range: 18446744073709551616, expected i64 at line 1 column 26"
        );
        // The line has a valid number in unusual spelling and another fault: the message has no position, which would be wrong.
        let line = GOOD.replace("\"id\":1,\"title\":\"t\"", "\"id\":1e2,\"title\":7");
        let (reason, message) = rejection(&line);
        assert_eq!(reason, Reason::WrongType);
        assert_eq!(message, "title: invalid type: integer `7`, expected a string");
    }

    #[test]
    fn hostile_line_has_a_reason_and_a_short_message() {
        let long = 200_000;
        let nested = |open: &str, close: &str| open.repeat(long) + &close.repeat(long);
        let names: Vec<String> = (0..50_000).map(|name| format!("\"{name}\":0,")).collect();
        let names = names.concat();
        for (line, reason) in [
            (nested("[", "]"), Reason::WrongType),
            (nested("[", ""), Reason::InvalidJson),
            (with("title", &nested("[", "]")), Reason::WrongType),
            (with("price", &nested("[", "]")), Reason::WrongType),
            (with("price", &nested("{\"a\":[", "]}")), Reason::WrongType),
            (with("id", &format!("\"{}\"", "\\u0001".repeat(long))), Reason::WrongType),
            (with("id", &format!("1.{}", "1".repeat(long))), Reason::WrongType),
            (with("price", &"1".repeat(long)), Reason::OutOfRange),
            (with("price", &format!("1e-{}", "1".repeat(long))), Reason::OutOfRange),
            (
                GOOD.replace('{', &format!("{{{}", "\"id\":1.0,".repeat(long))),
                Reason::DuplicateField,
            ),
            (format!("{{{names}\"id\":1.5"), Reason::WrongType),
            (format!("{{\"{}\":nothing}}", "\u{1f600}".repeat(long)), Reason::InvalidJson),
        ] {
            let rejection = parse::<products::Model>(line.as_bytes()).unwrap_err();
            assert_eq!(rejection.reason, reason, "{line:.40}: {rejection:.200}");
            assert!(rejection.message.capacity() <= 1024, "{line:.40}");
        }
        let ignored = GOOD.replace('{', &format!("{{{names}\"deep\":{},", nested("[", "]")));
        assert!(parse::<products::Model>(ignored.as_bytes()).is_ok());
    }

    #[test]
    fn every_kind_of_invalid_line_has_its_reason() {
        let lines: [(String, Reason); 35] = [
            ("nonsense".into(), Reason::InvalidJson),
            (r#"{"id":1"#.into(), Reason::InvalidJson),
            (format!("{GOOD} {GOOD}"), Reason::InvalidJson),
            (with("title", r#""\ud800""#), Reason::InvalidJson),
            ("[]".into(), Reason::WrongType),
            (r#"[1,"t",7,"c","b","u","d"]"#.into(), Reason::WrongType),
            ("[1".into(), Reason::InvalidJson),
            ("17".into(), Reason::WrongType),
            ("null".into(), Reason::WrongType),
            (r#"{"id":1}"#.into(), Reason::MissingField),
            (GOOD.replace("\"id\":1", "\"id\":1,\"id\":2"), Reason::DuplicateField),
            (with("id", r#""1""#), Reason::WrongType),
            (with("id", "1.5"), Reason::WrongType),
            (with("id", "1.00000000000000000000001"), Reason::WrongType),
            (with("id", "1e-999999999"), Reason::WrongType),
            (with("id", "9223372036854775808"), Reason::OutOfRange),
            (with("id", "18446744073709551615"), Reason::OutOfRange),
            (with("id", "18446744073709551616"), Reason::OutOfRange),
            (with("id", "-9223372036854775809"), Reason::OutOfRange),
            (with("id", "9223372036854775808.0"), Reason::OutOfRange),
            (with("id", "1e19"), Reason::OutOfRange),
            (with("id", "1e400"), Reason::OutOfRange),
            (with("id", "1e999999999"), Reason::OutOfRange),
            (with("id", &"9".repeat(100_000)), Reason::OutOfRange),
            (with("id", "-0"), Reason::OutOfRange),
            (with("title", "1e30"), Reason::WrongType),
            (GOOD.replace("\"id\":1", "\"id\":1.0,\"id\":1.0"), Reason::DuplicateField),
            (with("id", "0"), Reason::OutOfRange),
            (with("price", r#""7""#), Reason::WrongType),
            (with("price", "1e40"), Reason::OutOfRange),
            (with("price", "1e999"), Reason::OutOfRange),
            (with("price", "-0.01"), Reason::OutOfRange),
            (with("title", "\"\""), Reason::InvalidValue),
            (with("brand", "\"  \""), Reason::InvalidValue),
            (with("title", r#""a\u0000b""#), Reason::NulCharacter),
        ];
        for (line, reason) in lines {
            assert_eq!(rejection(&line).0, reason, "{line}: {}", rejection(&line).1);
        }
    }

    #[test]
    fn invalid_utf8_is_reported_with_its_offset_even_in_an_ignored_field() {
        let line = [b"{\"x\":\"", &[0xff][..], b"\",", &GOOD.as_bytes()[1..]].concat();
        let (reason, message) = rejection(line);
        assert_eq!(reason, Reason::InvalidUtf8);
        assert!(message.contains("byte 6"), "{message}");
    }

    #[test]
    fn message_names_the_field() {
        let (_, message) = rejection(with("price", "\"7\""));
        assert!(message.starts_with("price: invalid type: string"), "{message}");
        let (_, message) = rejection(with("price", "-1"));
        assert_eq!(message, "price must not be below 0");
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let line = GOOD.replace("\"id\":1", "\"id\":1,\"colour\":\"red\"");
        assert_eq!(
            parse::<products::Model>(line.as_bytes()),
            parse::<products::Model>(GOOD.as_bytes())
        );
    }
}
