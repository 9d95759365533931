//! Random records of a dataset.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, NaiveDate};
use jetline_datasets::{Column, Dataset, Type};
use proptest::{collection::btree_map, prelude::*, sample::select};

/// The days from 0001-01-01 to 9999-12-31.
const DAYS: std::ops::RangeInclusive<i32> = 1..=3_652_059;

/// The microseconds from 0001-01-02 to 9999-12-30: in every time zone, a year of four digits.
const MICROSECONDS: std::ops::Range<i64> = -62_135_510_400_000_000..253_402_214_400_000_000;

/// A record: the JSON of the fields of columns, in their order, and the other fields.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    columns: Vec<Option<String>>,
    marker: Option<String>,
    /// By the names of the objects around them.
    others: Vec<(Vec<String>, BTreeMap<String, String>)>,
}

/// Records of a dataset. `objects` are the paths of objects that have other fields too.
pub(crate) fn records(
    dataset: &Dataset,
    objects: &[&[&str]],
) -> impl Strategy<Value = Record> + use<> {
    let columns: Vec<_> = fields(dataset).map(field).collect();
    let markers = [None, Some("\"D\""), Some("\"U\""), Some("7"), Some("null")];
    let marker = select(markers.map(|text| text.map(str::to_owned)).to_vec());
    let others: Vec<_> = objects
        .iter()
        .map(|path| {
            let path: Vec<String> = path.iter().map(|name| (*name).to_owned()).collect();
            let fields = btree_map("x?[ ~/é\"\\\\,;]{1,3}", json(), 0..3);
            (Just(path), fields)
        })
        .collect();
    (columns, marker, others).prop_map(|(columns, marker, others)| Record {
        columns,
        marker,
        others,
    })
}

/// The columns of records: those of rows, then those that are dropped.
fn fields(dataset: &Dataset) -> impl Iterator<Item = &Column> {
    dataset.columns.iter().chain(&dataset.dropped)
}

impl Record {
    /// As JSON.
    pub(crate) fn json(&self, dataset: &Dataset) -> String {
        let mut root = BTreeMap::new();
        for (column, text) in fields(dataset).zip(&self.columns) {
            if let Some(text) = text {
                put(&mut root, &column.path, text);
            }
        }
        for (path, fields) in &self.others {
            for (name, text) in fields {
                put(&mut root, &[&path[..], std::slice::from_ref(name)].concat(), text);
            }
        }
        if let Some(marker) = &self.marker {
            put(&mut root, &["op".to_owned()], marker);
        }
        object(&root)
    }

    /// The names and texts of the fields outside of objects, as in CSV.
    pub(crate) fn csv(&self, dataset: &Dataset) -> Vec<(String, String)> {
        let columns =
            fields(dataset).zip(&self.columns).filter(|(column, _)| column.path.len() == 1);
        let columns = columns.map(|(column, json)| {
            let text = match json {
                Some(json) if column.column_type != Type::Json => text(json),
                other => other.clone().unwrap_or_default(),
            };
            (column.path[0].clone(), text)
        });
        let others = self.others.iter().filter(|(path, _)| path.is_empty());
        let others = others.flat_map(|(_, fields)| fields.clone());
        let marker = self.marker.iter().map(|marker| ("op".to_owned(), text(marker)));
        columns.chain(others).chain(marker).collect()
    }
}

/// The text of CSV for a JSON value.
fn text(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) => String::new(),
        _ => json.to_owned(),
    }
}

enum Node {
    Text(String),
    Object(BTreeMap<String, Node>),
}

fn put(object: &mut BTreeMap<String, Node>, path: &[String], text: &str) {
    let Some((name, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        object.insert(name.clone(), Node::Text(text.to_owned()));
        return;
    }
    let inner = object.entry(name.clone()).or_insert_with(|| Node::Object(BTreeMap::new()));
    if let Node::Object(inner) = inner {
        put(inner, rest, text);
    }
}

fn object(fields: &BTreeMap<String, Node>) -> String {
    let fields = fields.iter().map(|(name, node)| {
        let text = match node {
            Node::Text(text) => text.clone(),
            Node::Object(inner) => object(inner),
        };
        format!("{}:{text}", quoted(name))
    });
    format!("{{{}}}", fields.collect::<Vec<String>>().join(","))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn field(column: &Column) -> BoxedStrategy<Option<String>> {
    let value = value(column.column_type).prop_map(Some);
    if column.optional {
        prop_oneof![1 => Just(None), 1 => Just(Some("null".to_owned())), 4 => value].boxed()
    } else {
        value.boxed()
    }
}

/// The JSON of a value.
fn value(of: Type) -> BoxedStrategy<String> {
    match of {
        Type::Text => string().boxed(),
        Type::Bigint => any::<i64>().prop_map(|integer| integer.to_string()).boxed(),
        Type::Numeric => numeric().boxed(),
        Type::Double => double().boxed(),
        Type::Boolean => any::<bool>().prop_map(|boolean| boolean.to_string()).boxed(),
        Type::Date => DAYS
            .prop_map(|days| format!("\"{}\"", NaiveDate::from_num_days_from_ce_opt(days).unwrap()))
            .boxed(),
        Type::Timestamp => timestamp().boxed(),
        Type::Uuid => "\"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\"".boxed(),
        Type::Json => json().boxed(),
    }
}

fn string() -> impl Strategy<Value = String> {
    let text =
        prop_oneof![any::<String>(), "[a-z\\n\\r\"\\\\/,;|\u{85}\u{2028}]{0,12}", "[0-9]{0,20}"];
    text.prop_map(|text| quoted(&text.replace('\0', "")))
}

fn numeric() -> impl Strategy<Value = String> {
    let coefficient = prop_oneof![-(1_i128 << 96) + 1..1_i128 << 96, -1_000_000_i128..1_000_000];
    (coefficient, 0_u32..29).prop_map(|(coefficient, scale)| format!("{coefficient}e-{scale}"))
}

fn double() -> impl Strategy<Value = String> {
    any::<f64>()
        .prop_filter("finite", |double| double.is_finite())
        .prop_map(|double| format!("{double:e}"))
}

fn timestamp() -> impl Strategy<Value = String> {
    (MICROSECONDS, -720_i32..=720).prop_map(|(microseconds, minutes)| {
        let time = DateTime::from_timestamp_micros(microseconds).unwrap();
        let offset = FixedOffset::east_opt(minutes * 60).unwrap();
        format!("\"{}\"", time.with_timezone(&offset).to_rfc3339())
    })
}

/// Any JSON value.
fn json() -> impl Strategy<Value = String> {
    let constant = select(vec!["null", "true", "false", "[]", "{}", "-0.0", "1e-7", "12e30"]);
    let leaf = prop_oneof![constant.prop_map(str::to_owned), numeric(), double(), string()];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..4);
        let items = items.prop_map(|items| format!("[{}]", items.join(", ")));
        let fields = btree_map("[ a-zé\n\"]{0,3}", inner, 0..4);
        let fields = fields.prop_map(|fields| {
            let fields = fields.iter().map(|(name, text)| format!("{} : {text}", quoted(name)));
            format!("{{{}}}", fields.collect::<Vec<String>>().join(",\n"))
        });
        prop_oneof![items, fields]
    })
}
