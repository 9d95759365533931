//! The shape of a declaration in TOML.

use std::{fmt, marker::PhantomData, num::NonZeroU32, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Spanned;

use crate::{
    Redaction,
    dataset::UnknownFieldPolicy,
    destination::{ChangeKind, Unit},
};

/// A message about a part of the text.
pub(super) type Fault = (Range<usize>, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declaration {
    pub(super) source: Option<Spanned<String>>,
    pub(super) key: Spanned<String>,
    pub(super) version: Option<Spanned<String>>,
    pub(super) deleted: Option<Spanned<DeletedDeclaration>>,
    pub(super) history: Option<Spanned<bool>>,
    pub(super) format: Option<Spanned<String>>,
    pub(super) delimiter: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) unknown: UnknownFieldPolicy,
    pub(super) one_of: Option<Spanned<Vec<String>>>,
    pub(super) columns: Entries<ColumnDeclaration>,
    #[serde(default)]
    pub(super) deliver: Vec<DeliverDeclaration>,
    #[serde(default)]
    pub(super) queries: Entries<QueryDeclaration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { column = \"op\", equals = \"D\" }")]
pub(super) struct DeletedDeclaration {
    pub(super) column: String,
    pub(super) equals: toml::Value,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnTable {
    #[serde(rename = "type")]
    pub(super) column_type: String,
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) optional: bool,
    #[serde(default)]
    pub(super) index: bool,
    pub(super) default: Option<toml::Value>,
    pub(super) minimum: Option<toml::Value>,
    #[serde(rename = "exclusiveMinimum")]
    pub(super) exclusive_minimum: Option<toml::Value>,
    pub(super) maximum: Option<toml::Value>,
    #[serde(rename = "minLength")]
    pub(super) min_length: Option<u64>,
    #[serde(rename = "maxLength")]
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<String>,
    #[serde(rename = "enum")]
    pub(super) one_of: Option<Vec<toml::Value>>,
    pub(super) format: Option<String>,
    pub(super) redact: Option<Redaction>,
}

/// A column: the name of its type alone, or a table.
pub(super) struct ColumnDeclaration(pub(super) ColumnTable);

impl<'de> Deserialize<'de> for ColumnDeclaration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnVisitor;

        impl<'de> Visitor<'de> for ColumnVisitor {
            type Value = ColumnDeclaration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type such as \"text\", or a table such as { type = \"text\" }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ColumnDeclaration, E> {
                let column_type = name.to_owned();
                Ok(ColumnDeclaration(ColumnTable { column_type, ..ColumnTable::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ColumnDeclaration, A::Error> {
                ColumnTable::deserialize(MapAccessDeserializer::new(map)).map(ColumnDeclaration)
            }
        }

        deserializer.deserialize_any(ColumnVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliverDeclaration {
    pub(super) name: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) secret: Option<Spanned<String>>,
    pub(super) on: Option<Spanned<Vec<ChangeKind>>>,
    pub(super) delay: Option<Spanned<DelayDeclaration>>,
    pub(super) concurrency: Option<Spanned<NonZeroU32>>,
    pub(super) rate: Option<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { column = \"wait\", unit = \"s\" }")]
pub(super) struct DelayDeclaration {
    pub(super) column: String,
    pub(super) unit: Unit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueryDeclaration {
    pub(super) sql: Spanned<String>,
    #[serde(default)]
    pub(super) parameters: Entries<ColumnDeclaration>,
    pub(super) columns: Entries<ColumnDeclaration>,
}

/// The entries of a table in their order.
pub(super) struct Entries<T>(pub(super) Vec<(Spanned<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

impl ColumnTable {
    /// The constraints, by name.
    pub(super) fn rules(self) -> Vec<(&'static str, toml::Value)> {
        let integer = |length: Option<u64>| {
            length.map(|length| toml::Value::Integer(i64::try_from(length).unwrap_or(i64::MAX)))
        };
        let rules = [
            ("minimum", self.minimum),
            ("exclusiveMinimum", self.exclusive_minimum),
            ("maximum", self.maximum),
            ("minLength", integer(self.min_length)),
            ("maxLength", integer(self.max_length)),
            ("pattern", self.pattern.map(toml::Value::String)),
            ("enum", self.one_of.map(toml::Value::Array)),
            ("format", self.format.map(toml::Value::String)),
        ];
        rules.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
