//! A line of products: an accepted one can be stored and survives the round trip; a rejected one has a reason and a
//! position; and no valid line is rejected, according to an independent parser.

use std::sync::Arc;

use jetline_core::Key;
use jetline_datasets::{Column, Dataset, Datasets, Reason, Rejection, Row, Type, Value};

/// The property. The line ends at the first newline of the input.
pub fn holds(input: &[u8]) {
    let line = input.split(|byte| *byte == b'\n').next();
    let line = line.unwrap_or_default();
    let products = products();
    let parsed = products.parse_json(line);
    match &parsed {
        Ok(row) => {
            can_be_stored(&products, row);
            comes_back_from_its_canonical_form(&products, row);
        }
        Err(rejection) => says_why_and_where(line, rejection),
    }
    agrees_with_another_reader(&products, line, &parsed);
    number_comes_back(line);
}

fn products() -> Arc<Dataset> {
    let datasets = Datasets::built_in().expect("the declaration is valid");
    datasets.get("products").expect("it is a dataset").clone()
}

fn can_be_stored(dataset: &Dataset, row: &Row) {
    assert_eq!(row.values.len(), dataset.columns.len());
    assert!(matches!(row.key, Key::Int(1..)), "{:?}", row.key);
    for (column, value) in dataset.columns.iter().zip(&row.values) {
        assert!(fits(column, value), "{value:?} in {}", column.name);
    }
}

fn fits(column: &Column, value: &Value) -> bool {
    match (column.column_type, value) {
        (Type::Bigint, Value::Bigint(_)) => true,
        // SQLite stores the digits.
        (Type::Numeric, Value::Numeric(_)) => {
            Type::Numeric.read_text(&value.to_text()).as_ref() == Ok(value)
        }
        (Type::Text, Value::Text(text)) => !text.contains('\0'),
        _ => false,
    }
}

fn comes_back_from_its_canonical_form(dataset: &Dataset, row: &Row) {
    let mut canonical = Vec::new();
    let written = dataset.write_json(&row.values, None, &mut canonical);
    written.expect("a row is JSON");
    assert_eq!(dataset.parse_json(&canonical).as_ref(), Ok(row));
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

fn agrees_with_another_reader(dataset: &Dataset, line: &[u8], parsed: &Result<Row, Rejection>) {
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
            let values = dataset.columns.iter().map(|column| product[&column.name].clone());
            assert!(values.eq(row.values.iter().map(Value::to_text)), "{row:?}, {product:?}");
        }
        Err(rejection) => panic!("{rejection}, but it is {product:?}"),
    }
}

/// The line as a number.
fn number_comes_back(line: &[u8]) {
    let Ok(text) = std::str::from_utf8(line) else {
        return;
    };
    let Ok(number) = Type::Numeric.read_text(text) else {
        return;
    };
    let digits = number.to_text();
    assert_eq!(Type::Numeric.read_text(&digits), Ok(number));
    let float = |text: &str| text.parse::<f64>().expect("it is a number");
    let (before, after) = (float(text), float(&digits));
    let difference = (before - after).abs();
    assert!(difference <= before.abs() * 1e-15, "{before} became {after}");
}
