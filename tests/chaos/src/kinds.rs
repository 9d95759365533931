//! Declared datasets of every kind, and random files of them.

use jetline_oracle::Format;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

use crate::files::{File, Mixture};

/// The declaration of products, which does not change.
const PRODUCTS: &str = include_str!("../../../datasets/products.toml");

/// The names and texts of all declarations, before and after the change. Where changes are delivered, each has a destination.
pub(crate) fn declarations(
    changed: bool,
    is_delivering: bool,
) -> impl Iterator<Item = (&'static str, String)> {
    let texts =
        KINDS.iter().map(move |kind| (kind.name, if changed { kind.later } else { kind.first }));
    texts.chain([("products", PRODUCTS)]).map(move |(name, text)| {
        let deliver = match name {
            _ if !is_delivering => "",
            "prices" => DELIVER_LATER,
            _ => DELIVER,
        };
        (name, format!("{text}{deliver}"))
    })
}

/// Random files of several datasets, and how many of them are there before the declarations change.
pub(crate) fn files(mixture: &Mixture, changes: bool, random: &mut StdRng) -> (Vec<File>, usize) {
    let (first, later) = (random.random_range(1..=4), random.random_range(1..=2));
    let file = |number: u64, kinds: &[Option<&'static Kind>], random: &mut StdRng| match kinds
        .choose(random)
        .copied()
        .flatten()
    {
        Some(kind) => kind.file(number, random),
        None => mixture.file(number, random),
    };
    let all: Vec<Option<&Kind>> = KINDS.iter().map(Some).chain([None]).collect();
    let mut files: Vec<File> = (0..first).map(|number| file(number, &all, random)).collect();
    let before = files.len();
    if changes {
        // A location without objects would fail the first run.
        let is_used = |name| files.iter().any(|file: &File| file.dataset == name);
        let used =
            all.iter().copied().filter(|kind| is_used(kind.map_or("products", |kind| kind.name)));
        let used: Vec<Option<&Kind>> = used.collect();
        files.extend((first..first + later).map(|number| file(number, &used, random)));
    }
    (files, before)
}

/// A destination; its URL says which instance sends.
const DELIVER: &str = "\n[[deliver]]\nname = 'crm'\nurl = '${CRM_URL}'\nconcurrency = 4\n";

/// One to which versions are delivered some milliseconds after their commit.
const DELIVER_LATER: &str = "\n[[deliver]]\nname = 'crm'\nurl = '${CRM_URL}'\nconcurrency = 4\n\
    delay = { column = 'revision', unit = 'ms' }\n";

/// A dataset, with a declaration that replaces the first one in the middle of some runs.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) first: &'static str,
    pub(crate) later: &'static str,
    formats: &'static [(&'static str, Format)],
    record: fn(id: u32, state: u32, version: u32) -> Value,
}

/// The numbers of contents and versions.
const STATES: u32 = 4;
const VERSIONS: u32 = 4;

/// How often a record deletes, in percent.
const DELETES: u32 = 15;

/// How often a record is not valid, in percent.
const BAD: u32 = 4;

/// All kinds: text, integer and uuid keys, with and without versions and kept fields, in all formats.
pub(crate) const KINDS: [Kind; 3] = [
    Kind {
        name: "notes",
        first: "key = 'id'\ndeleted = { column = 'op', equals = 'D' }\n[columns]\nid = 'text'\ntext = 'text'\n",
        later: "key = 'id'\ndeleted = { column = 'op', equals = 'D' }\n[columns]\nid = 'text'\ntext = 'text'\n\
                depth = { type = 'bigint', path = '/extra/depth', optional = true, maximum = 2 }\n",
        formats: &[("jsonl", Format::JsonLines), ("json", Format::Json)],
        record: |id, state, _| {
            json!({ "id": format!("ü {id}"), "text": format!("state {state}\n\"ok\""),
                "extra": { "depth": state, "list": [1.5, null, { "a": id }] } })
        },
    },
    Kind {
        name: "events",
        first: "key = 'id'\nversion = 'at'\nhistory = true\nunknown = 'ignore'\ndeleted = { column = 'gone', equals = true }\n[columns]\n\
                id = 'bigint'\nat = 'timestamp'\nkind = { type = 'text', path = '/payload/kind' }\n\
                payload = { type = 'json', path = '/payload/data' }\n",
        later: "key = 'id'\nversion = 'at'\nhistory = true\nunknown = 'keep'\ndeleted = { column = 'gone', equals = true }\n[columns]\n\
                id = 'bigint'\nat = 'timestamp'\nkind = { type = 'text', path = '/payload/kind', minLength = 1 }\n\
                payload = { type = 'json', path = '/payload/data' }\n",
        formats: &[("json", Format::Json), ("jsonl", Format::JsonLines)],
        record: |id, state, version| {
            json!({ "id": id, "at": format!("2026-11-{:02}T12:00:00.5+01:00", version + 1),
                "payload": { "kind": format!("k{state}"), "data": { "state": state }, "more": state } })
        },
    },
    Kind {
        name: "prices",
        first: "key = 'sku'\nversion = 'revision'\nhistory = true\ndeleted = { column = 'op', equals = 'D' }\n[columns]\nsku = 'uuid'\n\
                price = { type = 'numeric', minimum = 0 }\nnote = { type = 'text', optional = true }\nrevision = 'bigint'\n",
        later: "key = 'sku'\nversion = 'revision'\nhistory = true\ndeleted = { column = 'op', equals = 'D' }\n[columns]\nsku = 'uuid'\n\
                price = { type = 'numeric', minimum = 1 }\nnote = { type = 'text', optional = true }\nrevision = 'bigint'\n\
                day = { type = 'date', optional = true }\n",
        formats: &[
            ("csv", Format::Csv(b',')),
            ("csv", Format::Csv(b';')),
            ("tsv", Format::Csv(b'\t')),
        ],
        record: |id, state, version| {
            json!({ "sku": format!("6ba7b810-9dad-11d1-80b4-{id:012}"), "price": format!("{state}.50"),
                "note": if state == 0 { String::new() } else { format!("a;b,\t\"{state}\"\nc") },
                "revision": version, "day": format!("2026-11-{:02}", state + 1), "op": "" })
        },
    },
];

impl Kind {
    /// A random file, with few keys, contents and versions.
    fn file(&self, number: u64, random: &mut StdRng) -> File {
        let ids = *[1, 3, 10, 40].choose(random).unwrap_or(&10);
        let (extension, format) = self.formats.choose(random).copied().unwrap_or(self.formats[0]);
        let count = random.random_range(1..150);
        // An object without a valid record fails.
        let valid = (self.record)(0, 1, 0);
        let records = (0..count).map(|_| {
            let [id, state, version] =
                [ids, STATES, VERSIONS].map(|below| random.random_range(0..below));
            with_faults((self.record)(id, state, version), random)
        });
        let records: Vec<Value> = records.chain([valid]).collect();
        let content = match format {
            Format::JsonLines => {
                records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect()
            }
            Format::Json => serde_json::to_string_pretty(&records).unwrap_or_default(),
            Format::Csv(delimiter) => csv(&records, char::from(delimiter)),
        };
        File {
            key: format!("{}/{number:08}.{extension}", self.name),
            content: content.into_bytes(),
            compression: None,
            dataset: self.name,
            format,
        }
    }
}

/// The record, or one that deletes it, or one that is not valid.
fn with_faults(mut record: Value, random: &mut StdRng) -> Value {
    let Some(fields) = record.as_object_mut() else { return record };
    match random.random_range(0..100) {
        roll if roll < DELETES => delete(fields),
        roll if roll < DELETES + BAD => {
            let first = fields.keys().next().cloned();
            fields.extend(first.map(|key| (key, json!([]))));
        }
        _ => {}
    }
    record
}

/// Makes the record delete, by the field of its dataset.
fn delete(fields: &mut Map<String, Value>) {
    if fields.contains_key("payload") {
        fields.remove("payload");
        fields.insert("gone".to_owned(), true.into());
    } else {
        fields.insert("op".to_owned(), "D".into());
    }
}

fn csv(records: &[Value], delimiter: char) -> String {
    let names: Vec<&String> =
        records.iter().take(1).filter_map(Value::as_object).flat_map(Map::keys).collect();
    let line = |fields: Vec<String>| fields.join(&delimiter.to_string()) + "\r\n";
    let header = line(names.iter().map(|name| (*name).clone()).collect());
    let lines = records.iter().map(|record| {
        let fields = names.iter().map(|name| match &record[name.as_str()] {
            Value::String(text) if text.contains(['"', '\n', delimiter]) => {
                format!("\"{}\"", text.replace('"', "\"\""))
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        line(fields.collect())
    });
    header + &lines.collect::<String>()
}
