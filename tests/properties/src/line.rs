//! A line of products: an accepted one can be stored and survives the round trip; a rejected one has a reason and a
//! position; and no valid line is rejected, according to an independent parser.

use jetline_core::{Fingerprint, Key};
use jetline_records::{
    Column, Decimal, Reason, Record, Rejection, Row, Table,
    parse::{parse, record},
    products::Model,
};
use sea_orm::{Value, prelude::ColumnType};

/// The property. The line ends at the first newline of the input.
pub fn holds(input: &[u8]) {
    let line = input.split(|byte| *byte == b'\n').next();
    let line = line.unwrap_or_default();
    let parsed = parse::<Model>(line);
    match &parsed {
        Ok(row) => {
            can_be_stored(row);
            comes_back_from_its_canonical_form(line, row);
        }
        Err(rejection) => says_why_and_where(line, rejection),
    }
    agrees_with_another_reader(line, &parsed);
    number_comes_back(line);
}

fn can_be_stored(row: &Row) {
    let columns = Table::of::<Model>().columns;
    assert_eq!(row.values.len(), columns.len());
    assert!(matches!(row.key, Key::Int(1..)), "{:?}", row.key);
    for (column, value) in columns.iter().zip(&row.values) {
        assert!(fits(column, value), "{value:?} in {}", column.name);
    }
}

fn fits(column: &Column, value: &Value) -> bool {
    match (&column.column_type, value) {
        (ColumnType::BigInteger, Value::BigInt(Some(_))) => true,
        (ColumnType::Decimal(_), Value::Decimal(Some(price))) => {
            // SQLite stores the digits.
            let read = price.to_string().parse::<Decimal>();
            read.is_ok_and(|read| Value::from(read) == *value)
        }
        (ColumnType::String(_), Value::String(Some(text))) => !text.contains('\0'),
        _ => false,
    }
}

fn comes_back_from_its_canonical_form(line: &[u8], row: &Row) {
    let text = std::str::from_utf8(line).expect("it was accepted");
    let record: Model = record(text).expect("it was accepted");
    let canonical = serde_json::to_string(&record).expect("a record is JSON");
    assert_eq!(parse::<Model>(canonical.as_bytes()).as_ref(), Ok(row));
    assert_eq!(Fingerprint::of(&record).ok(), Some(row.fingerprint));
    assert_eq!(record.validate(), Ok(()));
}

fn says_why_and_where(line: &[u8], Rejection { reason, message }: &Rejection) {
    assert!(!message.is_empty());
    // It may quote the line, and is truncated.
    assert!(message.len() <= 1024, "{message}");
    let is_of_the_writer = matches!(reason, Reason::LineTooLong | Reason::RefusedByDatabase);
    assert!(!is_of_the_writer, "{reason}");
    if let Some((_, place)) = message.rsplit_once(" at line ")
        && let Some((number, column)) = place.split_once(" column ")
        && let Ok(column) = column.parse::<usize>()
    {
        assert!(number == "1" && column <= line.len(), "{message}");
    }
    if *reason == Reason::InvalidUtf8 {
        let place = message.split(' ').find_map(|word| word.parse().ok());
        let valid = std::str::from_utf8(line).expect_err("it was rejected");
        assert_eq!(place, Some(valid.valid_up_to()), "{message}");
    }
}

fn agrees_with_another_reader(line: &[u8], parsed: &Result<Row, Rejection>) {
    // It parses an object, and skips a byte order mark.
    if line.starts_with("\u{feff}".as_bytes()) {
        return;
    }
    let expected = jetline_oracle::fold(&[line]);
    let Some(product) = expected.rows.values().next() else {
        return;
    };
    match parsed {
        Ok(row) => {
            assert_eq!(row.key, Key::Int(product.id));
            let texts = [
                (1, &product.title),
                (3, &product.category),
                (4, &product.brand),
                (5, &product.url),
                (6, &product.description),
            ];
            for (column, text) in texts {
                assert_eq!(row.values[column], Value::from(text.as_str()));
            }
        }
        // It parses prices as floats, which round numbers of more digits.
        Err(rejection) => {
            let of_price = rejection.message.starts_with("price: number out of range");
            assert!(of_price, "{rejection}, but it is {product:?}");
        }
    }
}

/// The line as a number.
fn number_comes_back(line: &[u8]) {
    let Ok(number) = serde_json::from_slice::<Decimal>(line) else {
        return;
    };
    let digits = number.to_string();
    assert_eq!(digits.parse(), Ok(number));
    assert_eq!(serde_json::to_string(&number).ok(), Some(digits.clone()));
    let float = |text: &[u8]| serde_json::from_slice::<f64>(text).expect("it is a number");
    let (before, after) = (float(line), float(digits.as_bytes()));
    let difference = (before - after).abs();
    assert!(difference <= before.abs() * 1e-15, "{before} became {after}");
}
