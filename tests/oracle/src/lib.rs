//! What must come out: a fold over the objects in order, line by line, the last line wins. Nothing here is shared with
//! the programs.

#![expect(
    clippy::unwrap_used,
    reason = "what holds an object's lines in memory counts them in 64 bits, and JSON that was read is read again"
)]

pub mod catalogue;
pub mod standing;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sea_orm::FromQueryResult;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

/// The longest line that the tests' settings allow, in bytes.
pub const MAX_LINE: usize = 2048;

/// How much of a longer line is kept, in bytes.
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

/// A line that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reject {
    /// The object's place in the order, from 1: the number that an empty ledger gives it.
    pub object: i64,
    pub line: i64,
    pub offset: i64,
    pub reason: String,
    pub raw: Vec<u8>,
}

/// What must stand in the database at the end.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub rows: BTreeMap<i64, Product>,
    pub rejects: BTreeSet<Reject>,
    /// Per object, the lines that are not blank.
    pub lines: Vec<i64>,
    /// Per object, all lines.
    pub all_lines: Vec<i64>,
}

/// Folds decompressed objects in their order.
pub fn fold<T: AsRef<[u8]>>(objects: &[T]) -> Expected {
    let mut expected = Expected::default();
    for object in objects {
        expected.add(object.as_ref());
    }
    expected
}

impl Expected {
    /// How many lines there are that are not blank.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.lines.iter().sum()
    }

    /// Folds one more object, decompressed.
    pub fn add(&mut self, content: &[u8]) {
        let object = i64::try_from(self.lines.len()).unwrap() + 1;
        let (mut offset, mut number, mut taken) = (0, 0, 0);
        for with_newline in content.split_inclusive(|byte| *byte == b'\n') {
            number += 1;
            let line = with_newline.strip_suffix(b"\n").unwrap_or(with_newline);
            let is_long = line.len() > MAX_LINE;
            let unmarked = |text| match <[u8]>::strip_prefix(text, "\u{feff}".as_bytes()) {
                Some(unmarked) if offset == 0 => unmarked,
                _ => text,
            };
            let text = unmarked(line.strip_suffix(b"\r").unwrap_or(line));
            let judged = if is_long {
                Err("line_too_long")
            } else {
                judge(text)
            };
            if is_long || !text.trim_ascii().is_empty() {
                taken += 1;
                match judged {
                    Ok(product) => {
                        self.rows.insert(product.id, product);
                    }
                    Err(reason) => {
                        self.rejects.insert(Reject {
                            object,
                            line: number,
                            offset: i64::try_from(offset).unwrap(),
                            reason: reason.to_owned(),
                            raw: if line.len() > KEPT {
                                unmarked(&line[..KEPT]).to_vec()
                            } else {
                                text.to_vec()
                            },
                        });
                    }
                }
            }
            offset += with_newline.len();
        }
        self.lines.push(taken);
        self.all_lines.push(number);
    }
}

const FIELDS: [&str; 7] = [
    "id",
    "title",
    "price",
    "category",
    "brand",
    "url",
    "description",
];

/// A line with one thing wrong at most: with several, which one is told is not fixed.
fn judge(line: &[u8]) -> Result<Product, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "invalid_utf8")?;
    let value: Value = serde_json::from_str(text).map_err(|_| "invalid_json")?;
    let object = value.as_object().ok_or("wrong_type")?;
    let Names(names) = serde_json::from_str(text).unwrap();
    for field in FIELDS {
        match names.iter().filter(|name| *name == field).count() {
            0 => return Err("missing_field"),
            1 => {}
            _ => return Err("duplicate_field"),
        }
    }
    let product = Product {
        id: id(&object["id"])?,
        price: price(&object["price"])?,
        title: text_of(&object["title"], true)?,
        category: text_of(&object["category"], true)?,
        brand: text_of(&object["brand"], true)?,
        url: text_of(&object["url"], false)?,
        description: text_of(&object["description"], false)?,
    };
    Ok(product)
}

fn id(value: &Value) -> Result<i64, &'static str> {
    if value.is_f64() || !value.is_number() {
        return Err("wrong_type");
    }
    match value.as_i64() {
        Some(id) if id > 0 => Ok(id),
        _ => Err("out_of_range"),
    }
}

/// Prices here have few digits: a float shows them as they are.
fn price(value: &Value) -> Result<String, &'static str> {
    let price = value.as_f64().ok_or("wrong_type")?;
    if (0.0..1e12).contains(&price) {
        Ok(price.to_string())
    } else {
        Err("out_of_range")
    }
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

/// The names in an object, each as often as it stands there.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, Value>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[test]
fn last_line_wins_and_every_line_has_its_place() {
    let line = |id: i64, title: &str| {
        format!(
            r#"{{"id":{id},"title":"{title}","price":1.50,"category":"c","brand":"b","url":"","description":""}}"#
        )
    };
    let first = format!("\u{feff}{}\r\n\r\nnonsense\n{}", line(1, "a"), line(2, "a"));
    let second = format!("{}\n{}\n", line(1, "b"), line(0, "b"));
    let expected = fold(&[&first, &second]);
    assert_eq!(expected.lines, [3, 2]);
    assert_eq!(expected.all_lines, [4, 2]);
    assert_eq!(expected.rows[&1].title, "b");
    assert_eq!(expected.rows[&2].price, "1.5");
    let rejects: Vec<_> = expected.rejects.iter().collect();
    assert_eq!((rejects[0].object, rejects[0].line), (1, 3));
    assert_eq!(
        usize::try_from(rejects[0].offset).ok(),
        first.find("nonsense")
    );
    assert_eq!(rejects[1].reason, "out_of_range");
}
