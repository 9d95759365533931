//! What is written of a row gives the same row.

use jetline_datasets::{
    Dataset, Origin, RedactionKey, Rejection, Row, UnknownFields, Value, parse,
};
use proptest::prelude::*;

use crate::random::{Record, records};

const ORDERS: &str = r#"
key = "id"
version = "version"
deleted = { column = "op", equals = "D" }

[columns]
id = "text"
version = "timestamp"
title = "text"
note = { type = "text", optional = true }
count = { type = "bigint", optional = true }
price = { type = "numeric", optional = true }
weight = { type = "double", optional = true }
is_open = { type = "boolean", optional = true }
day = { type = "date", optional = true }
token = { type = "uuid", optional = true }
lines = { type = "json", optional = true }
zip = { type = "text", path = "/address/zip", optional = true }
city = { type = "numeric", path = "/address/~0city/a~1b", optional = true }
"#;

/// The objects with fields that no column takes.
const OBJECTS: [&[&str]; 3] = [&[], &["address"], &["address", "~city"]];

const CARDS: &str = r#"
key = "id"
version = "version"
deleted = { column = "op", equals = "D" }
unknown = "ignore"

[columns]
number = { type = "text", redact = "last4", optional = true }
id = "uuid"
cvv = { type = "text", redact = "drop", path = "/code/cvv" }
version = "bigint"
pin = { type = "text", redact = "drop", optional = true }
iban = { type = "text", redact = "hash", path = "/code/iban", optional = true }
name = { type = "text", redact = "last4" }
amount = { type = "numeric", optional = true }
"#;

fn orders(unknown: &str) -> Dataset {
    parse("orders", "orders.toml", &format!("unknown = '{unknown}'\n{ORDERS}")).unwrap()
}

fn cards() -> Dataset {
    parse("cards", "cards.toml", CARDS).unwrap()
}

fn read_fields(dataset: &Dataset, record: &Record) -> Result<Row, Rejection> {
    let (names, texts): (Vec<String>, Vec<String>) = record.csv(dataset).into_iter().unzip();
    let header = dataset.header(names);
    let texts = texts.iter().map(|text| Ok(&**text));
    dataset.parse_fields(&header, texts, Origin::default(), &mut UnknownFields::default())
}

/// Writes a row, and reads it again.
fn written(dataset: &Dataset, row: &Row) -> Row {
    let mut record = Vec::new();
    dataset.write_record(row, &mut record).unwrap();
    assert!(!record.contains(&b'\n'));
    dataset.parse_json(&record).unwrap()
}

#[test]
fn record_with_all_fields_is_written_as_one_line() {
    let record = r#"{"id":"a","version":"2026-11-26T13:00:00.5+01:00","title":"a\nb","note":null,"count":1.0,"price":19.90,
        "weight":1e300,"is_open":false,"day":"2026-11-26","token":"6BA7B810-9dad-11d1-80b4-00c04fd430c8","lines":[ 1 ],
        "address":{"zip":"1","~city":{"a/b":1,"x":2}},"gift":true,"op":"U"}"#;
    let (orders, mut line) = (orders("keep"), Vec::new());
    let row = orders.parse_json(record.as_bytes()).unwrap();
    orders.write_record(&row, &mut line).unwrap();
    assert_eq!(
        String::from_utf8(line).unwrap(),
        r#"{"id":"a","version":"2026-11-26T12:00:00.500Z","title":"a\nb","note":null,"count":1,"price":19.9,"weight":1e+300,"is_open":false,"day":"2026-11-26","token":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","lines":[1],"address":{"zip":"1","~city":{"a/b":1,"x":2}},"gift":true}"#
    );
    let deleted = r#"{"id":"a","version":"2026-11-26T12:00:00Z","op":"D","count":"?"}"#;
    let row = orders.parse_json(deleted.as_bytes()).unwrap();
    assert_eq!(written(&orders, &row), row);
    assert_eq!(row.values.last(), Some(&Value::Boolean(true)));
}

#[test]
fn null_of_a_json_column_is_no_value_in_csv_too() {
    let orders = orders("keep");
    let texts = ["a", "2026-11-26T12:00:00Z", "b", " null"].map(Ok);
    let header = orders.header(["id", "version", "title", "lines"].map(str::to_owned).into());
    let mut unknown = UnknownFields::default();
    let row = orders.parse_fields(&header, texts.into_iter(), Origin::default(), &mut unknown);
    let row = row.unwrap();
    assert_eq!(row.values[orders.place("lines").unwrap()], Value::Null);
    assert_eq!(written(&orders, &row), row);
}

proptest! {
    #[test]
    fn written_record_gives_the_same_row(
        record in records(&orders("keep"), &OBJECTS),
        unknown in prop::sample::select(vec!["keep", "ignore"]),
    ) {
        let orders = orders(unknown);
        let row = orders.parse_json(record.json(&orders).as_bytes()).unwrap();
        prop_assert_eq!(written(&orders, &row), row);
        let row = read_fields(&orders, &record).unwrap();
        prop_assert_eq!(written(&orders, &row), row);
    }

    #[test]
    fn redacted_record_gives_the_same_row(record in records(&cards(), &OBJECTS[..1]), key in any::<[u8; 32]>()) {
        let (cards, key) = (cards(), RedactionKey::new(&key).unwrap());
        let clear = cards.parse_json(record.json(&cards).as_bytes()).unwrap();
        let row = cards.redact(clear.clone(), &key);
        let redacted = written(&cards.redacted(), &row);
        prop_assert_eq!(&redacted, &row);
        prop_assert_eq!(cards.redacted().redact(redacted, &key), row.clone());
        prop_assert_eq!((&row.key, row.version), (&clear.key, clear.version));
        // A hash of clear values would be another one.
        let mut line = Vec::new();
        cards.write_record(&clear, &mut line).unwrap();
        let hashed = cards.redacted().parse_json(&line).unwrap();
        let is_redacted = clear.values != row.values;
        prop_assert_eq!(hashed.fingerprint != row.fingerprint, is_redacted);
    }
}
