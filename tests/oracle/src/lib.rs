//! The oracle: the expected result is a fold over the objects in order, line by line, the last line wins. It shares no code
//! with the programs.

#![expect(
    clippy::unwrap_used,
    reason = "what holds an object's lines in memory counts them in 64 bits, and JSON that was read is read again"
)]

pub mod catalogue;
pub mod database_state;
pub mod ledger;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sea_orm::FromQueryResult;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// The maximum line length in the tests' settings, in bytes.
pub const MAX_LINE: usize = 2048;

/// How many bytes of a longer line are kept.
const KEPT: usize = 4096;

/// A row of the table: all columns of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, FromQueryResult)]
pub struct Product {
    pub id: i64,
    pub title: String,
    pub price: String,
    pub category: String,
    pub brand: String,
    pub url: String,
    pub description: String,
}

/// A rejected line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reject {
    /// The object's number in an empty ledger, from 1.
    pub object: i64,
    pub line: i64,
    pub offset: i64,
    pub reason: String,
    pub raw: Vec<u8>,
}

/// The expected state of the database.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub rows: BTreeMap<i64, Product>,
    pub rejects: BTreeSet<Reject>,
    /// Lines that the database refuses and others supersede: superseded or rejected, by the order of commits.
    pub may_be_rejected: BTreeSet<Reject>,
    /// Per object, the lines that are not blank.
    pub lines: Vec<i64>,
    /// Per object, all lines.
    pub all_lines: Vec<i64>,
    refusal: Option<Refusal>,
    /// Per id, the line that was refused last, until another one supersedes it.
    refused: BTreeMap<i64, Reject>,
}

/// Which valid lines the database refuses, and the reason of the rejection.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub refuses: fn(&Product) -> bool,
    pub reason: &'static str,
}

/// Folds decompressed objects in order.
pub fn fold<T: AsRef<[u8]>>(objects: &[T]) -> Expected {
    fold_refusing(objects, None)
}

/// Like `fold`, with a database that refuses rows.
pub fn fold_refusing<T: AsRef<[u8]>>(objects: &[T], refusal: Option<Refusal>) -> Expected {
    let mut expected = Expected { refusal, ..Expected::default() };
    for object in objects {
        expected.add(object.as_ref());
    }
    expected
}

impl Expected {
    /// The number of lines that are not blank.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.lines.iter().sum()
    }

    /// Folds one more object, decompressed.
    pub fn add(&mut self, content: &[u8]) {
        let object = i64::try_from(self.lines.len()).unwrap() + 1;
        let (mut offset, mut number, mut accepted) = (0, 0, 0);
        for with_newline in content.split_inclusive(|byte| *byte == b'\n') {
            number += 1;
            let line = with_newline.strip_suffix(b"\n").unwrap_or(with_newline);
            let is_long = line.len() > MAX_LINE;
            let unmarked = |text| match <[u8]>::strip_prefix(text, "\u{feff}".as_bytes()) {
                Some(unmarked) if offset == 0 => unmarked,
                _ => text,
            };
            let text = unmarked(line.strip_suffix(b"\r").unwrap_or(line));
            let parsed = if is_long { Err("line_too_long") } else { parse(text) };
            if is_long || !text.trim_ascii().is_empty() {
                accepted += 1;
                let reject = |reason: &str| Reject {
                    object,
                    line: number,
                    offset: i64::try_from(offset).unwrap(),
                    reason: reason.to_owned(),
                    raw: if line.len() > KEPT {
                        unmarked(&line[..KEPT]).to_vec()
                    } else {
                        text.to_vec()
                    },
                };
                match parsed {
                    Ok(product) => self.accept(product, reject),
                    Err(reason) => {
                        self.rejects.insert(reject(reason));
                    }
                }
            }
            offset += with_newline.len();
        }
        self.lines.push(accepted);
        self.all_lines.push(number);
    }

    fn accept(&mut self, product: Product, reject: impl FnOnce(&str) -> Reject) {
        if let Some(superseded) = self.refused.remove(&product.id) {
            self.rejects.remove(&superseded);
            self.may_be_rejected.insert(superseded);
        }
        let refusal = self.refusal.filter(|refusal| (refusal.refuses)(&product));
        if let Some(refusal) = refusal {
            let reject = reject(refusal.reason);
            self.refused.insert(product.id, reject.clone());
            self.rejects.insert(reject);
        } else {
            self.rows.insert(product.id, product);
        }
    }
}

const FIELDS: [&str; 7] = ["id", "title", "price", "category", "brand", "url", "description"];

/// Parses a line with at most one error: with several, the reported reason is not defined.
fn parse(line: &[u8]) -> Result<Product, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "invalid_utf8")?;
    let value: Value = serde_json::from_str(text).map_err(|_| "invalid_json")?;
    let object = value.as_object().ok_or("wrong_type")?;
    let Fields(fields) = serde_json::from_str(text).unwrap();
    for field in FIELDS {
        match fields.iter().filter(|(name, _)| name == field).count() {
            0 => return Err("missing_field"),
            1 => {}
            _ => return Err("duplicate_field"),
        }
    }
    let product = Product {
        id: id(&object["id"], &fields)?,
        price: price(&object["price"])?,
        title: text_of(&object["title"], true)?,
        category: text_of(&object["category"], true)?,
        brand: text_of(&object["brand"], true)?,
        url: text_of(&object["url"], false)?,
        description: text_of(&object["description"], false)?,
    };
    Ok(product)
}

fn id(value: &Value, fields: &[(String, Box<RawValue>)]) -> Result<i64, &'static str> {
    if !value.is_number() {
        return Err("wrong_type");
    }
    let token = fields.iter().find(|(name, _)| name == "id").unwrap();
    match whole(token.1.get()) {
        Ok(id) if id <= 0 => Err("out_of_range"),
        id => id,
    }
}

/// An integer in any spelling: its digits, with the decimal point shifted.
fn whole(token: &str) -> Result<i64, &'static str> {
    let (number, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (before, behind) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{before}{behind}");
    let is_of_weight = |digit| digit != '0';
    let (Some(first), Some(last)) = (digits.find(is_of_weight), digits.rfind(is_of_weight)) else {
        return Ok(0);
    };
    let far = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let point = i64::try_from(before.len()).unwrap() + exponent.parse().unwrap_or(far);
    let (length, leading) = (i64::try_from(last).unwrap() + 1, i64::try_from(first).unwrap());
    if length > point {
        return Err("wrong_type");
    }
    if point - leading > 19 {
        return Err("out_of_range");
    }
    let zeros = "0".repeat(usize::try_from(point - length).unwrap());
    let plain = format!("{sign}{}{zeros}", &digits[first..=last]);
    plain.parse().map_err(|_| "out_of_range")
}

/// Prices here have few digits: a float represents them exactly.
fn price(value: &Value) -> Result<String, &'static str> {
    let price = value.as_f64().ok_or("wrong_type")?;
    if (0.0..1e12).contains(&price) { Ok(price.to_string()) } else { Err("out_of_range") }
}

fn text_of(value: &Value, must_say_something: bool) -> Result<String, &'static str> {
    let text = value.as_str().ok_or("wrong_type")?;
    if must_say_something && text.trim().is_empty() {
        return Err("invalid_value");
    }
    if text.contains('\0') {
        return Err("nul_character");
    }
    Ok(text.to_owned())
}

/// The fields of an object with their raw values, including duplicates.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[test]
fn integer_is_accepted_in_every_spelling() {
    for (token, number) in [
        ("1", Ok(1)),
        ("-0", Ok(0)),
        ("0e99999999999999999999", Ok(0)),
        ("0.12e2", Ok(12)),
        ("-1200E-2", Ok(-12)),
        ("9223372036854775807.0", Ok(i64::MAX)),
        ("9223372036854775808", Err("out_of_range")),
        ("1e99999999999999999999", Err("out_of_range")),
        ("1e-99999999999999999999", Err("wrong_type")),
        ("1.00000000000000000001", Err("wrong_type")),
    ] {
        assert_eq!(whole(token), number, "{token}");
    }
}

#[cfg(test)]
fn line(id: i64, title: &str) -> String {
    format!(
        r#"{{"id":{id},"title":"{title}","price":1.50,"category":"c","brand":"b","url":"","description":""}}"#
    )
}

#[test]
fn last_line_that_the_database_accepts_wins() {
    let refusal =
        Refusal { refuses: |product| product.title == "no", reason: "refused_by_database" };
    let objects = [
        [line(1, "a"), line(1, "no"), line(2, "no")].join("\n"),
        [line(2, "b"), line(2, "no"), line(2, "no")].join("\n"),
    ];
    let expected = fold_refusing(&objects, Some(refusal));
    let titles: Vec<_> = expected.rows.values().map(|row| &row.title).collect();
    assert_eq!(titles, ["a", "b"]);
    let places = |rejects: &BTreeSet<Reject>| -> Vec<_> {
        let places = rejects.iter().map(|reject| (reject.object, reject.line));
        places.collect()
    };
    assert_eq!(places(&expected.rejects), [(1, 2), (2, 3)]);
    assert_eq!(places(&expected.may_be_rejected), [(1, 3), (2, 2)]);
}

#[test]
fn last_line_wins_and_every_line_is_counted() {
    let first = format!("\u{feff}{}\r\n\r\nnonsense\n{}", line(1, "a"), line(2, "a"));
    let second = format!("{}\n{}\n", line(1, "b"), line(0, "b"));
    let expected = fold(&[&first, &second]);
    assert_eq!(expected.lines, [3, 2]);
    assert_eq!(expected.all_lines, [4, 2]);
    assert_eq!(expected.rows[&1].title, "b");
    assert_eq!(expected.rows[&2].price, "1.5");
    let rejects: Vec<_> = expected.rejects.iter().collect();
    assert_eq!((rejects[0].object, rejects[0].line), (1, 3));
    assert_eq!(usize::try_from(rejects[0].offset).ok(), first.find("nonsense"));
    assert_eq!(rejects[1].reason, "out_of_range");
}
