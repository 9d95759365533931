//! Declarations of datasets, and the rows of their records.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use regex::Regex;
use serde::Deserialize;

use crate::{EXTRA, IS_DELETED, Key, Reason, Row, json::Json, value::Type};

/// The most bytes of a text that is a key or has an index.
const MAX_KEY_BYTES: usize = 1024;

static PRODUCTS: LazyLock<Arc<Declaration>> = LazyLock::new(|| {
    Declaration::read("products", include_str!("../../../datasets/products.toml"))
});

/// The dataset that is compiled in.
#[must_use]
pub fn products() -> Arc<Declaration> {
    PRODUCTS.clone()
}

/// A declaration.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// The name of its dataset.
    pub dataset: String,
    pub(crate) columns: BTreeMap<String, Column>,
    pub(crate) key: String,
    pub(crate) unknown: Unknown,
    pub(crate) deleted: Option<Marker>,
    pub(crate) version: Option<String>,
    /// Whether every version is kept.
    pub(crate) history: bool,
}

#[derive(Deserialize)]
struct File {
    key: String,
    version: Option<String>,
    deleted: Option<Marker>,
    #[serde(default)]
    history: bool,
    #[serde(default)]
    unknown: Unknown,
    columns: BTreeMap<String, Entry>,
}

/// The field that marks a delete, and its value.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Marker {
    column: String,
    equals: toml::Value,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unknown {
    #[default]
    Keep,
    Ignore,
    Reject,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Type(Type),
    Table(Box<Table>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    #[serde(rename = "type")]
    column_type: Type,
    path: Option<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    index: bool,
    minimum: Option<toml::Value>,
    exclusive_minimum: Option<toml::Value>,
    maximum: Option<toml::Value>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    pattern: Option<String>,
    #[serde(rename = "enum")]
    one_of: Option<Vec<toml::Value>>,
    format: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) of: Type,
    path: Vec<String>,
    is_optional: bool,
    is_indexed: bool,
    constraints: Vec<Constraint>,
}

#[derive(Clone, Debug)]
enum Constraint {
    Minimum(String),
    ExclusiveMinimum(String),
    Maximum(String),
    MinLength(usize),
    MaxLength(usize),
    Pattern(Regex),
    Enum(Vec<String>),
    Format(String),
}

/// A valid record.
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) row: Row,
}

impl Declaration {
    /// Reads the declaration of a dataset.
    ///
    /// # Panics
    /// If it is not valid.
    #[must_use]
    pub fn read(dataset: &str, text: &str) -> Arc<Self> {
        let File { key, version, deleted, history, unknown, columns } =
            toml::from_str(text).unwrap();
        let columns = columns.into_iter().map(|(name, entry)| {
            let column = Column::new(&name, entry);
            (name, column)
        });
        let (dataset, columns) = (dataset.to_owned(), columns.collect());
        Arc::new(Self { dataset, columns, key, unknown, deleted, version, history })
    }

    /// The key of a version in the history, if there is one.
    pub(crate) fn version_key(&self, row: &Row) -> Option<Key> {
        let version = self.version.as_ref().filter(|_| self.history)?;
        let key = format!("{} at {}", row[&self.key], row[version]);
        Some((self.dataset.clone(), key))
    }

    /// The record of a JSON text.
    pub(crate) fn json(&self, text: &[u8]) -> Result<Record, Reason> {
        let text = std::str::from_utf8(text).map_err(|_| "invalid_utf8")?;
        match Json::read(text)? {
            json if json.has_duplicates() => Err("duplicate_field"),
            Json::Object(fields) => self.record(fields),
            _ => Err("wrong_type"),
        }
    }

    /// The record of the fields of CSV.
    pub(crate) fn csv(&self, names: &[String], fields: &[Vec<u8>]) -> Result<Record, Reason> {
        if fields.len() != names.len() {
            return Err("invalid_csv");
        }
        let fields = names.iter().zip(fields).map(|(name, field)| {
            let text = std::str::from_utf8(field).map_err(|_| "invalid_utf8")?;
            Ok((name.clone(), Json::Csv(text.to_owned())))
        });
        self.record(fields.collect::<Result<_, Reason>>()?)
    }

    /// A record with at most one error: with several, the reported reason is not defined.
    fn record(&self, mut fields: Vec<(String, Json)>) -> Result<Record, Reason> {
        let is_deleted = self.take_marker(&mut fields);
        let mut row = Row::new();
        for (name, column) in &self.columns {
            let value = take(&mut fields, &column.path)?;
            let is_rank = *name == self.key || Some(name) == self.version.as_ref();
            if (!is_deleted || is_rank)
                && let Some(value) = column.value(value)?
            {
                row.insert(name.clone(), value);
            }
        }
        for column in self.columns.values() {
            remove_empty(&mut fields, &column.path);
        }
        if is_deleted {
            row.insert(IS_DELETED.to_owned(), "true".to_owned());
        } else if !fields.is_empty() {
            match self.unknown {
                Unknown::Ignore => {}
                Unknown::Reject => return Err("unknown_field"),
                Unknown::Keep => {
                    row.insert(EXTRA.to_owned(), Json::Object(fields).form()?);
                }
            }
        }
        let key = row[&self.key].clone();
        if key.len() > MAX_KEY_BYTES {
            return Err("out_of_range");
        }
        let version = self.version.as_ref();
        let version = version.map_or(0, |name| self.columns[name].of.version(&row[name]));
        Ok(Record { key, version, row })
    }

    /// Removes the field that marks deletes; returns whether it does.
    fn take_marker(&self, fields: &mut Vec<(String, Json)>) -> bool {
        let Some(marker) = &self.deleted else {
            return false;
        };
        let Some(at) = fields.iter().position(|(name, _)| *name == marker.column) else {
            return false;
        };
        let (_, value) = fields.remove(at);
        let of = match marker.equals {
            toml::Value::String(_) => Type::Text,
            toml::Value::Integer(_) => Type::Bigint,
            _ => Type::Boolean,
        };
        of.read(&value).is_ok_and(|value| value == text(&marker.equals))
    }
}

impl Column {
    fn new(name: &str, entry: Entry) -> Self {
        let table = match entry {
            Entry::Type(column_type) => Table::of(column_type),
            Entry::Table(table) => *table,
        };
        let path = match &table.path {
            Some(path) => {
                let names = path.trim_start_matches('/').split('/');
                names.map(|name| name.replace("~1", "/").replace("~0", "~")).collect()
            }
            None => vec![name.to_owned()],
        };
        Self {
            of: table.column_type,
            path,
            is_optional: table.optional,
            is_indexed: table.index,
            constraints: table.constraints(),
        }
    }

    /// The value of a field, if it has one.
    fn value(&self, field: Option<Json>) -> Result<Option<String>, Reason> {
        let value = match field {
            None | Some(Json::Null) if self.is_optional => return Ok(None),
            Some(Json::Csv(text)) if text.is_empty() && self.is_optional => return Ok(None),
            Some(Json::Csv(text))
                if self.of == Type::Json && text == "null" && self.is_optional =>
            {
                return Ok(None);
            }
            None => return Err("missing_field"),
            Some(field) => self.of.read(&field)?,
        };
        if self.is_indexed && value.len() > MAX_KEY_BYTES {
            return Err("out_of_range");
        }
        let mut constraints = self.constraints.iter();
        constraints.try_for_each(|constraint| constraint.check(self.of, &value))?;
        Ok(Some(value))
    }
}

impl Table {
    fn of(column_type: Type) -> Self {
        Self {
            column_type,
            path: None,
            optional: false,
            index: false,
            minimum: None,
            exclusive_minimum: None,
            maximum: None,
            min_length: None,
            max_length: None,
            pattern: None,
            one_of: None,
            format: None,
        }
    }

    fn constraints(self) -> Vec<Constraint> {
        let read = |value: &toml::Value| self.column_type.read_text(&text(value)).unwrap();
        let all = [
            self.minimum.as_ref().map(read).map(Constraint::Minimum),
            self.exclusive_minimum.as_ref().map(read).map(Constraint::ExclusiveMinimum),
            self.maximum.as_ref().map(read).map(Constraint::Maximum),
            self.min_length.map(Constraint::MinLength),
            self.max_length.map(Constraint::MaxLength),
            self.pattern.map(|pattern| Constraint::Pattern(Regex::new(&pattern).unwrap())),
            self.one_of.map(|values| Constraint::Enum(values.iter().map(read).collect())),
            self.format.map(Constraint::Format),
        ];
        all.into_iter().flatten().collect()
    }
}

impl Constraint {
    fn check(&self, of: Type, value: &str) -> Result<(), Reason> {
        let (holds, reason) = match self {
            Self::Minimum(least) => (of.compare(value, least).is_ge(), "out_of_range"),
            Self::ExclusiveMinimum(below) => (of.compare(value, below).is_gt(), "out_of_range"),
            Self::Maximum(most) => (of.compare(value, most).is_le(), "out_of_range"),
            Self::MinLength(least) => (value.chars().count() >= *least, "invalid_value"),
            Self::MaxLength(most) => (value.chars().count() <= *most, "invalid_value"),
            Self::Pattern(pattern) => (pattern.is_match(value), "invalid_value"),
            Self::Enum(values) => (values.iter().any(|one| one == value), "invalid_value"),
            // The tests have none that are nearly valid.
            Self::Format(format) => {
                (value.contains(if format == "email" { '@' } else { ':' }), "invalid_value")
            }
        };
        if holds { Ok(()) } else { Err(reason) }
    }
}

/// A value of a declaration, as a record spells it.
fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(integer) => integer.to_string(),
        toml::Value::Float(float) => float.to_string(),
        toml::Value::Boolean(boolean) => boolean.to_string(),
        toml::Value::Datetime(point) => point.to_string(),
        toml::Value::Array(_) | toml::Value::Table(_) => String::new(),
    }
}

/// Removes the value at a path.
fn take(fields: &mut Vec<(String, Json)>, path: &[String]) -> Result<Option<Json>, Reason> {
    let Some(at) = fields.iter().position(|(name, _)| *name == path[0]) else {
        return Ok(None);
    };
    if path.len() == 1 {
        return Ok(Some(fields.remove(at).1));
    }
    match &mut fields[at].1 {
        Json::Object(inner) => take(inner, &path[1..]),
        Json::Null => Ok(None),
        Json::Csv(text) if text.is_empty() => Ok(None),
        _ => Err("wrong_type"),
    }
}

/// Removes the objects on a path of which nothing is left.
fn remove_empty(fields: &mut Vec<(String, Json)>, path: &[String]) {
    let at = fields.iter().position(|(name, _)| *name == path[0]);
    let Some(at) = at.filter(|_| path.len() > 1) else {
        return;
    };
    let is_empty = match &mut fields[at].1 {
        Json::Object(inner) => {
            remove_empty(inner, &path[1..]);
            inner.is_empty()
        }
        // It has no value in these columns.
        _ => true,
    };
    if is_empty {
        fields.remove(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: &str = r#"
key = "order_id"
version = "updated_at"
deleted = { column = "op", equals = "D" }

[columns]
order_id = "text"
customer = { type = "bigint", path = "/customer/id", index = true }
total = { type = "numeric", minimum = 0 }
status = { type = "text", enum = ["open", "paid"] }
email = { type = "text", format = "email", optional = true }
updated_at = "timestamp"
lines = "json"
"#;

    const ORDER: &str = r#"{"order_id":"A1","customer":{"id":7,"name":"Ann"},"total":19.90,"status":"open",
        "updated_at":"2026-11-26T12:00:00Z","lines":[{"sku":1.0}],"gift":true}"#;

    fn order(from: &str, to: &str) -> Result<String, Reason> {
        assert!(ORDER.contains(from), "{from}");
        let record =
            Declaration::read("orders", ORDERS).json(ORDER.replace(from, to).as_bytes())?;
        Ok(format!("{} {:?}", record.version, record.row.values().collect::<Vec<_>>()))
    }

    #[test]
    fn record_becomes_a_row() {
        let row = r#"1795694400000000 ["7", "{\"customer\":{\"name\":\"Ann\"},\"gift\":true}", "[{\"sku\":1}]", "A1", "open", "19.9", "2026-11-26T12:00:00.000000Z"]"#;
        assert_eq!(order("", "").as_deref(), Ok(row));
        let deleted = r#"1795694400000000 ["true", "A1", "2026-11-26T12:00:00.000000Z"]"#;
        assert_eq!(order("true", r#"true,"op":"D""#).as_deref(), Ok(deleted));
        assert_eq!(order("true", r#"true,"op":"U""#).as_deref(), Ok(row));
    }

    #[test]
    fn invalid_record_has_a_reason() {
        for (from, to, reason) in [
            (r#""order_id":"A1","#, "", "missing_field"),
            (r#""A1""#, "null", "wrong_type"),
            (r#""A1""#, &format!("\"{}\"", "x".repeat(1025)), "out_of_range"),
            ("19.90", "-0.01", "out_of_range"),
            ("open", "lost", "invalid_value"),
            (r#"{"id":7,"name":"Ann"}"#, "7", "wrong_type"),
            (r#""gift":true"#, r#""gift":true,"gift":true"#, "duplicate_field"),
            (r#""gift":true"#, r#""gift":"\u0000""#, "nul_character"),
            (r#""gift":true"#, r#""email":"ann""#, "invalid_value"),
            ("}]", "}", "invalid_json"),
        ] {
            assert_eq!(order(from, to), Err(reason), "{to:.60}");
        }
        let strict = Declaration::read("orders", &format!("unknown = 'reject'\n{ORDERS}"));
        assert_eq!(strict.json(ORDER.as_bytes()).err(), Some("unknown_field"));
    }

    #[test]
    fn fields_of_csv_are_read_as_the_types_of_their_columns() {
        let orders = Declaration::read("orders", ORDERS);
        let names = ["order_id", "total", "status", "lines", "updated_at", "email", "a b"];
        let names = names.map(str::to_owned);
        let fields = ["A;1", "1.0", "open", "[1.0]", "2026-11-26T12:00:00Z", "", ""];
        let mut fields: Vec<_> = fields.iter().map(|field| field.as_bytes().to_vec()).collect();
        assert_eq!(orders.csv(&names, &fields).err(), Some("missing_field"));
        let lean = ORDERS.replace("index = true", "optional = true");
        let record = Declaration::read("orders", &lean).csv(&names, &fields).ok().unwrap();
        assert_eq!(record.row[EXTRA], r#"{"a b":""}"#);
        assert_eq!((&*record.row["lines"], record.row.len()), ("[1]", 6));
        fields.pop();
        assert_eq!(orders.csv(&names, &fields).err(), Some("invalid_csv"));
    }
}
