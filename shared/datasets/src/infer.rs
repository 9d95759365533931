//! A declaration is proposed from a sample of records.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    fmt::Write as _,
    hash::{Hash, Hasher},
};

use crate::{
    MAX_COLUMNS, MAX_KEY_BYTES, Rejection, json,
    names::check_column_name,
    record::{object, utf8},
    value::Type,
};

/// What the fields of a sample of records hold.
#[derive(Clone, Debug, Default)]
pub struct Inference {
    records: u64,
    fields: Vec<Field>,
    /// The places of the fields, by name.
    places: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    /// Whether it is known without a value.
    is_named: bool,
    /// The records that have a value, which is not null.
    values: u64,
    /// The bytes of the longest one.
    longest: usize,
    /// The types that all values have.
    types: Vec<Type>,
    /// Hashes of the values, while they are different.
    distinct: Option<HashSet<u64>>,
}

/// The types in the order in which they are proposed; a value of JSON has the last one in any case.
const TYPES: [Type; 9] = [
    Type::Boolean,
    Type::Bigint,
    Type::Numeric,
    Type::Double,
    Type::Uuid,
    Type::Timestamp,
    Type::Date,
    Type::Text,
    Type::Json,
];

/// Names of versions, from which the declaration proposes one.
const VERSIONS: [&str; 6] =
    ["updated_at", "updatedAt", "modified_at", "modifiedAt", "version", "last_modified"];

/// Why no declaration can be proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// There is nothing to propose it from.
    #[error("there is no record")]
    NoRecord,
    /// No field is a key.
    #[error(
        "no field is a key: an integer, a text or a UUID that every record has, each another one; name the one that is \
         meant with --key. The fields are: {0}"
    )]
    NoKey(String),
    /// The named field is no key.
    #[error("{name} cannot be the key: {reason}")]
    WrongKey {
        /// The field.
        name: String,
        /// Why.
        reason: String,
    },
}

impl Inference {
    /// The number of records.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Takes a record that is a JSON object, unless no dataset could take it.
    pub fn add_json(&mut self, record: &[u8]) -> Result<(), Rejection> {
        let fields = object(utf8(record)?)?.0;
        let mut names = HashSet::new();
        for (name, text) in &fields {
            if !names.insert(name) {
                return Err(json::duplicate(name));
            }
            Type::Json.read_json(text)?;
        }
        for (name, text) in &fields {
            if let Some(field) = self.field(name)
                && *text != "null"
            {
                field.add(text, |of| of.read_json(text).is_ok());
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Takes a record that is a list of texts, unless no dataset could take it; an empty one is no value.
    pub fn add_fields(&mut self, fields: &[(&str, &str)]) -> Result<(), Rejection> {
        for (_, text) in fields {
            Type::Text.read_text(text)?;
        }
        for (name, text) in fields {
            let Some(field) = self.field(name) else { continue };
            field.is_named = true;
            if !text.is_empty() {
                field.add(text, |of| of.read_text(text).is_ok());
            }
        }
        self.records += 1;
        Ok(())
    }

    /// A field, unless there are as many others as a dataset has columns.
    fn field(&mut self, name: &str) -> Option<&mut Field> {
        let at = self.places.get(name).copied().unwrap_or(self.fields.len());
        if at == MAX_COLUMNS {
            return None;
        }
        if at == self.fields.len() {
            self.places.insert(name.to_owned(), at);
            self.fields.push(Field {
                name: name.to_owned(),
                is_named: false,
                values: 0,
                longest: 0,
                types: TYPES.to_vec(),
                distinct: Some(HashSet::new()),
            });
        }
        self.fields.get_mut(at)
    }

    /// The declaration as TOML. `key` names the field of the key; without it, one is chosen.
    pub fn declaration(&self, key: Option<&str>) -> Result<String, InferError> {
        if self.records == 0 {
            return Err(InferError::NoRecord);
        }
        let key = match key {
            Some(name) => self.named_key(name)?,
            None => self.key()?,
        };
        let mut used = HashSet::new();
        let columns = self.fields.iter().filter(|field| field.values > 0 || field.is_named);
        let columns: Vec<(String, &Field)> =
            columns.map(|field| (column_name(&field.name, &mut used), field)).collect();
        let column_of = |wanted: &Field| {
            let of = columns.iter().find(|(_, field)| field.name == wanted.name);
            of.map_or_else(String::new, |(column, _)| column.clone())
        };
        let mut text = format!("key = {}\n", quoted(&column_of(key)));
        if let Some(version) = self.version() {
            let column = quoted(&column_of(version));
            // Whether it is one, only the user knows.
            let _ = writeln!(
                text,
                "# version = {column} # the record with the highest version wins, not the last one"
            );
        }
        text.push_str("\n[columns]\n");
        for (column, field) in &columns {
            let _ = writeln!(text, "{column} = {}", field.column(column, self.records));
        }
        Ok(text)
    }

    fn named_key(&self, name: &str) -> Result<&Field, InferError> {
        let wrong = |reason: String| InferError::WrongKey { name: name.to_owned(), reason };
        let field = self.fields.iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| wrong(format!("the fields are: {}", self.names())))?;
        if field.values < self.records {
            return Err(wrong(format!(
                "{} of {} records have no value in it",
                self.records - field.values,
                self.records
            )));
        }
        if !field.is_of_key_type() {
            let reason = format!(
                "it is {}, of up to {} bytes; a key is bigint, text or uuid, of up to {MAX_KEY_BYTES}",
                field.column_type(),
                field.longest
            );
            return Err(wrong(reason));
        }
        Ok(field)
    }

    /// The first field that is a key, preferably by its name.
    fn key(&self) -> Result<&Field, InferError> {
        let is_key = |field: &&Field| {
            field.values == self.records && field.is_of_key_type() && field.distinct.is_some()
        };
        let mut keys: Vec<&Field> = self.fields.iter().filter(is_key).collect();
        keys.sort_by_key(|field| {
            let name = field.name.to_ascii_lowercase();
            match &*name {
                "id" | "key" | "uuid" => 0,
                name if name.ends_with("id") || name.ends_with("key") => 1,
                _ => 2,
            }
        });
        keys.first().copied().ok_or_else(|| InferError::NoKey(self.names()))
    }

    fn version(&self) -> Option<&Field> {
        self.fields.iter().find(|field| {
            VERSIONS.contains(&&*field.name)
                && field.values == self.records
                && matches!(field.column_type(), Type::Bigint | Type::Timestamp)
        })
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.fields.iter().map(|field| &*field.name).collect();
        names.join(", ")
    }
}

impl Field {
    /// Takes a value; `is` says whether it has a type.
    fn add(&mut self, text: &str, is: impl Fn(Type) -> bool) {
        self.values += 1;
        self.longest = self.longest.max(text.len());
        self.types.retain(|of| is(*of) && (*of != Type::Double || is_exact_as_double(text)));
        if !self.is_of_key_type() {
            self.distinct = None;
        }
        if let Some(distinct) = &mut self.distinct {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            if !distinct.insert(hasher.finish()) {
                self.distinct = None;
            }
        }
    }

    /// The first type that all values have: JSON if there is no other, and text if there is no value.
    fn column_type(&self) -> Type {
        if self.values == 0 {
            return Type::Text;
        }
        self.types.first().copied().unwrap_or(Type::Json)
    }

    fn is_of_key_type(&self) -> bool {
        let is_short = self.longest <= MAX_KEY_BYTES;
        matches!(self.column_type(), Type::Bigint | Type::Text | Type::Uuid) && is_short
    }

    /// The column's declaration.
    fn column(&self, column: &str, records: u64) -> String {
        let of = quoted(self.column_type().name());
        let path = if column == self.name {
            String::new()
        } else {
            let escaped = self.name.replace('~', "~0").replace('/', "~1");
            format!(", path = {}", quoted(&format!("/{escaped}")))
        };
        let optional = if self.values < records { ", optional = true" } else { "" };
        if path.is_empty() && optional.is_empty() {
            return of;
        }
        format!("{{ type = {of}{path}{optional} }}")
    }
}

/// A name for the column of a field, which no other column has.
fn column_name(field: &str, used: &mut HashSet<String>) -> String {
    let name = if check_column_name(field).is_ok() { field.to_owned() } else { plain_name(field) };
    let mut unique = name.clone();
    let mut number = 2;
    let short = &name[..name.len().min(MAX_BYTES_BEFORE_NUMBER)];
    // SQLite does not distinguish upper and lower case in names.
    while !used.insert(unique.to_ascii_lowercase()) {
        unique = format!("{short}_{number}");
        number += 1;
    }
    unique
}

/// How much of a name is kept where a number makes it different from others.
const MAX_BYTES_BEFORE_NUMBER: usize = 50;

/// Whether a number has no more digits than a floating-point number keeps.
fn is_exact_as_double(text: &str) -> bool {
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = digits.trim_start_matches(['-', '0', '.']);
    digits.bytes().filter(u8::is_ascii_digit).count() <= 15
}

/// A name of letters, digits and underscores.
fn plain_name(field: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let plain: String = field.chars().map(plain).take(40).collect();
    let plain = plain.trim_matches('_');
    if check_column_name(plain).is_ok() { plain.to_owned() } else { format!("field_{plain}") }
}

/// A text in TOML: strings of JSON are strings of TOML, except for one control character.
fn quoted(text: &str) -> String {
    json::quoted(text).replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn of_json(records: &[&str], key: Option<&str>) -> Result<String, InferError> {
        let mut inference = Inference::default();
        for record in records {
            inference.add_json(record.as_bytes()).unwrap();
        }
        inference.declaration(key)
    }

    #[test]
    fn declaration_of_a_sample_parses_its_records() {
        let records = [
            r#"{"order_id":"A1","total":19.90,"n":1,"paid":true,"at":"2026-11-26T12:00:00Z","on":"2026-11-26","items":[{"sku":1}],"weird name":"x","Total":1,"big":1e300,"none":null,"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","mixed":1,"xmin":"a"}"#,
            r#"{"order_id":"A2","total":20,"n":2,"paid":false,"at":"2026-11-26T12:00:00+01:00","on":"1969-12-31","items":[],"email":"a@b.c","weird name":"","Total":2,"big":1,"none":null,"id":"6ba7b810-9dad-11d1-80b4-00c04fd430c9","mixed":"x","xmin":""}"#,
        ];
        let text = of_json(&records, None).unwrap();
        let expected = r#"key = "id"

[columns]
order_id = "text"
total = "numeric"
n = "bigint"
paid = "boolean"
at = "timestamp"
on = "date"
items = "json"
weird_name = { type = "text", path = "/weird name" }
Total_2 = { type = "bigint", path = "/Total" }
big = "double"
id = "uuid"
mixed = "json"
field_xmin = { type = "text", path = "/xmin" }
email = { type = "text", optional = true }
"#;
        assert_eq!(text, expected);
        let dataset = parse("orders", "orders.toml", &text).unwrap();
        for record in records {
            dataset.parse_json(record.as_bytes()).unwrap();
        }
        let by_order = of_json(&records, Some("order_id")).unwrap();
        assert!(by_order.starts_with("key = \"order_id\"\n"), "{by_order}");
    }

    #[test]
    fn texts_of_csv_have_the_types_of_their_values() {
        let mut inference = Inference::default();
        let names = ["code", "zip", "price", "date", "note", "version", "empty"];
        for texts in [
            ["b-1", "007", "1.50", "2026-11-26", "", "1", ""],
            ["b-2", "12345", "2", "2026-11-27", "x", "2", ""],
        ] {
            let fields: Vec<(&str, &str)> = names.into_iter().zip(texts).collect();
            inference.add_fields(&fields).unwrap();
        }
        assert!(inference.add_fields(&[("code", "b-3"), ("note", "\0")]).is_err());
        let text = inference.declaration(None).unwrap();
        assert_eq!(
            text,
            "key = \"code\"\n# version = \"version\" # the record with the highest version wins, not the last one\n\n\
             [columns]\ncode = \"text\"\nzip = \"text\"\nprice = \"numeric\"\ndate = \"date\"\n\
             note = { type = \"text\", optional = true }\nversion = \"bigint\"\n\
             empty = { type = \"text\", optional = true }\n"
        );
        parse("things", "things.toml", &text).unwrap();
    }

    #[test]
    fn what_is_proposed_takes_the_sample() {
        let digits = "1".repeat(30);
        let long = "k".repeat(1025);
        let twin = "t".repeat(63);
        let records = [
            format!(
                r#"{{"id":"{long}","n":{digits},"code":"a","{twin}":1,"{}":2}}"#,
                twin.to_uppercase()
            ),
            format!(r#"{{"id":"x","n":1e300,"code":"b","{twin}":1}}"#),
        ];
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let text = of_json(&records, None).unwrap();
        assert!(text.starts_with("key = \"code\"") && text.contains("n = \"json\""), "{text}");
        let dataset = parse("a", "a.toml", &text).unwrap();
        for record in records {
            dataset.parse_json(record.as_bytes()).unwrap();
        }
        let mut inference = Inference::default();
        assert!(inference.add_json(br#"{"a":1,"a":2}"#).is_err());
        assert!(inference.add_json(b"{\"a\":\"\\u0000\"}").is_err());
        assert_eq!(inference.records(), 0);
        let wide: Vec<String> =
            (0..2_000).map(|number| format!("\"f{number}\":{number}")).collect();
        inference.add_json(format!("{{{}}}", wide.join(",")).as_bytes()).unwrap();
        parse("a", "a.toml", &inference.declaration(None).unwrap()).unwrap();
    }

    #[test]
    fn key_that_is_none_is_explained() {
        assert_eq!(of_json(&[], None), Err(InferError::NoRecord));
        let records = [r#"{"a":1,"b":1.5,"c":"x"}"#, r#"{"a":1,"b":2.5}"#];
        let error = of_json(&records, None).unwrap_err().to_string();
        assert!(error.ends_with("The fields are: a, b, c"), "{error}");
        // An integer that repeats may be meant.
        assert!(of_json(&records, Some("a")).is_ok());
        for (key, reason) in [
            (
                "b",
                "b cannot be the key: it is numeric, of up to 3 bytes; a key is bigint, text or uuid, of up to 1024",
            ),
            ("c", "c cannot be the key: 1 of 2 records have no value in it"),
            ("d", "d cannot be the key: the fields are: a, b, c"),
        ] {
            assert_eq!(of_json(&records, Some(key)).unwrap_err().to_string(), reason);
        }
    }
}
