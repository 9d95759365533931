//! The fields that no column takes, by path.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use jetline_core::Position;

use crate::JsonType;

/// Maximum number of paths that are told apart. All further ones are one, with an empty path.
pub const MAX_UNKNOWN_PATHS: usize = 1_000;

/// Maximum number of bytes of a path. Longer ones are cut off.
const MAX_PATH_BYTES: usize = 256;

/// The names of the objects around a field, and its own.
#[derive(Clone, Copy)]
pub(crate) struct Path<'p> {
    pub(crate) outer: Option<&'p Path<'p>>,
    pub(crate) name: &'p str,
}

impl Path<'_> {
    /// The names, with dots.
    pub(crate) fn dotted(&self) -> String {
        match self.outer {
            Some(outer) => format!("{}.{}", outer.dotted(), self.name),
            None => self.name.to_owned(),
        }
    }

    fn append_pointer(&self, pointer: &mut String) {
        if let Some(outer) = self.outer {
            outer.append_pointer(pointer);
        }
        pointer.push('/');
        for character in self.name.chars() {
            match character {
                '~' => pointer.push_str("~0"),
                '/' => pointer.push_str("~1"),
                other => pointer.push(other),
            }
        }
    }
}

/// What is known of the fields with one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// The number of records that have it. Records that are rejected count as far as they were parsed.
    pub records: u64,
    /// The position of the first of them.
    pub first: Position,
    /// The types of its values.
    pub types: BTreeSet<JsonType>,
}

/// The fields that no column takes, by their paths as JSON Pointers.
#[derive(Clone, Debug, Default)]
pub struct UnknownFields {
    fields: BTreeMap<String, UnknownField>,
    /// The path of the last field.
    path: String,
}

impl UnknownFields {
    /// Counts a field of the record at a position. A field without a path is one of those with an empty path.
    pub(crate) fn count(&mut self, path: Option<Path<'_>>, value: JsonType, record: Position) {
        let mut pointer = std::mem::take(&mut self.path);
        pointer.clear();
        if let Some(path) = path {
            path.append_pointer(&mut pointer);
        }
        if pointer.len() > MAX_PATH_BYTES {
            pointer.truncate(pointer.floor_char_boundary(MAX_PATH_BYTES));
        }
        if let Some(field) = self.fields.get_mut(&pointer) {
            field.records += 1;
            field.first = field.first.min(record);
            field.types.insert(value);
        } else {
            let field = UnknownField { records: 1, first: record, types: [value].into() };
            self.add(&pointer, field);
        }
        self.path = pointer;
    }

    /// Adds what is known of a path.
    pub fn add(&mut self, path: &str, field: UnknownField) {
        let is_full = self.fields.len() >= MAX_UNKNOWN_PATHS && !self.fields.contains_key(path);
        match self.fields.entry(if is_full { String::new() } else { path.to_owned() }) {
            btree_map::Entry::Vacant(first) => drop(first.insert(field)),
            btree_map::Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.records += field.records;
                known.first = known.first.min(field.first);
                known.types.extend(field.types);
            }
        }
    }

    /// The paths in their order, each with what is known of it.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &UnknownField)> {
        self.fields.iter().map(|(path, field)| (&**path, field))
    }

    /// What is known of a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&UnknownField> {
        self.fields.get(path)
    }

    /// The number of paths.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use jetline_core::ObjectId;

    use super::*;
    use crate::{Dataset, Origin, parse};

    fn people(unknown: &str) -> Dataset {
        let text = format!(
            "key = 'id'\nunknown = '{unknown}'\ndeleted = {{ column = 'op', equals = 'D' }}\n[columns]\nid = 'bigint'\n\
             city = {{ type = 'text', path = '/address/city', optional = true }}"
        );
        parse("people", "people.toml", &text).unwrap()
    }

    fn line(number: u32) -> Position {
        Position::new(ObjectId::default(), number)
    }

    /// Path, records, first line and types of the fields of these records.
    fn found(unknown: &str, records: &[&str]) -> Vec<(String, u64, u32, Vec<JsonType>)> {
        let (dataset, mut fields) = (people(unknown), UnknownFields::default());
        for (number, record) in (1..).zip(records) {
            let origin = Origin { position: line(number), ..Origin::default() };
            let _ = dataset.parse_json_counting(record.as_bytes(), origin, &mut fields);
        }
        let found = fields.iter().map(|(path, UnknownField { records, first, types })| {
            (path.to_owned(), *records, first.line(), types.iter().copied().collect())
        });
        found.collect()
    }

    #[test]
    fn fields_that_no_column_takes_are_counted_by_path() {
        use JsonType::{Array, Null, Number, Object, String};
        let records = [
            r#"{"id":1,"address":{"city":"Rome"}}"#,
            r#"{"id":2,"a/b~":{"c":1},"address":{"city":"Rome","zip":{"x":1}},"op":"U"}"#,
            r#"{"id":3,"address":{"zip":null,"city":"Rome"},"a/b~":[]}"#,
            r#"{"id":4,"op":"D","gone":1}"#,
            r#"{"id":"?","before":1}"#,
            r#"{"before":"1","id":"?"}"#,
            r#"{"id":5,"no json"}"#,
        ];
        let expected = [
            ("/address/zip".to_owned(), 2, 2, vec![Object, Null]),
            ("/a~1b~0".to_owned(), 2, 2, vec![Object, Array]),
            ("/before".to_owned(), 1, 6, vec![String]),
        ];
        for unknown in ["keep", "ignore"] {
            assert_eq!(found(unknown, &records), expected, "{unknown}");
        }
        // The first one of a record rejects it.
        let expected = [("/a".to_owned(), 1, 1, vec![Number])];
        assert_eq!(found("reject", &[r#"{"id":1,"a":1,"b":1}"#]), expected);
    }

    #[test]
    fn number_and_length_of_paths_are_limited() {
        let field = |number: u32| UnknownField {
            records: 1,
            first: line(number),
            types: [JsonType::Null].into(),
        };
        let mut fields = UnknownFields::default();
        for number in 0..1_100 {
            fields.add(&format!("/{number}"), field(number));
        }
        fields.add("/7", field(7));
        assert_eq!(fields.len(), 1_001);
        assert_eq!(
            fields.get("").map(|more| (more.records, more.first.line())),
            Some((100, 1_000))
        );
        assert_eq!(fields.get("/7").map(|known| known.records), Some(2));
        let long = format!(r#"{{"id":1,"{}":1,"{}x":1}}"#, "é".repeat(500), "é".repeat(500));
        let paths = found("keep", &[&long]);
        assert_eq!((paths.len(), paths[0].0.len(), paths[0].1), (1, 255, 2));
    }
}
