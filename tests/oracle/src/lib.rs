//! The oracle: the expected result is a fold over the objects in order, record by record, the highest rank wins. It shares no
//! code with the programs, and reads declarations by its own.

#![expect(
    clippy::unwrap_used,
    reason = "declarations of tests are valid, and what holds an object's lines in memory counts them in 64 bits"
)]

pub mod catalogue;
mod content;
pub mod database_state;
mod decimal;
mod declaration;
mod json;
pub mod ledger;
mod value;

use std::collections::{BTreeMap, BTreeSet};

pub use content::Format;
pub use declaration::{Declaration, products};

use content::{Piece, Text, header, pieces};
use declaration::Record;

/// The maximum line length in the tests' settings, in bytes.
pub const MAX_LINE: usize = 2048;

/// How many bytes of a longer line are kept.
const KEPT: usize = 4096;

/// The columns of the fields that no column takes, and of the mark of deleted rows, which is in no other row.
pub(crate) const EXTRA: &str = "jetline_extra";
pub(crate) const IS_DELETED: &str = "jetline_deleted";

/// The code of a rejection.
type Reason = &'static str;

/// A dataset and the key of a row.
pub type Key = (String, String);

/// The columns that have a value, as texts of which equal values have one.
pub type Row = BTreeMap<String, String>;

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
    pub rows: BTreeMap<Key, Row>,
    /// Every version of a row, where they are kept; the key has the version.
    pub history: BTreeMap<Key, Row>,
    pub rejects: BTreeSet<Reject>,
    /// Lines that the database refuses and others supersede: superseded or rejected, by the order of commits.
    pub may_be_rejected: BTreeSet<Reject>,
    /// Per object, the lines that are not blank.
    pub lines: Vec<i64>,
    /// Per object, all lines.
    pub all_lines: Vec<i64>,
    refusal: Option<Refusal>,
    /// The versions of the rows.
    versions: BTreeMap<Key, i64>,
    /// Per key, the refused line of the highest rank with its version, until another one supersedes it.
    refused: BTreeMap<Key, (i64, Reject)>,
}

/// Which valid records the database refuses, and the reason of the rejection.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub refuses: fn(&Row) -> bool,
    pub reason: &'static str,
}

/// Folds decompressed objects with lines of products in order.
pub fn fold<T: AsRef<[u8]>>(objects: &[T]) -> Expected {
    fold_refusing(objects, None)
}

/// Like `fold`, with a database that refuses rows.
pub fn fold_refusing<T: AsRef<[u8]>>(objects: &[T], refusal: Option<Refusal>) -> Expected {
    let mut expected = Expected::refusing(refusal);
    for object in objects {
        expected.add_products(object.as_ref());
    }
    expected
}

impl Expected {
    /// The state before the first object, of a database that may refuse rows.
    #[must_use]
    pub fn refusing(refusal: Option<Refusal>) -> Self {
        Self { refusal, ..Self::default() }
    }

    /// The number of lines that are not blank.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.lines.iter().sum()
    }

    /// Folds one more object with lines of products.
    pub fn add_products(&mut self, content: &[u8]) {
        self.add(&products(), Format::JsonLines, content);
    }

    /// Folds one more object, decompressed, as its declaration reads it.
    pub fn add(&mut self, declaration: &Declaration, format: Format, content: &[u8]) {
        let object = i64::try_from(self.lines.len()).unwrap() + 1;
        let names = match format {
            Format::Csv(delimiter) => header(content, delimiter),
            Format::JsonLines | Format::Json => Vec::new(),
        };
        let (pieces, all_lines) = pieces(format, content);
        self.lines.push(i64::try_from(pieces.len()).unwrap());
        self.all_lines.push(all_lines);
        for Piece { line, offset, raw, text } in pieces {
            let reject = |reason: Reason| Reject {
                object,
                line,
                offset: i64::try_from(offset).unwrap(),
                reason: reason.to_owned(),
                raw: raw.to_vec(),
            };
            let record = text.and_then(|text| match text {
                Text::Json(text) => declaration.json(text),
                Text::Csv(fields) => declaration.csv(&names, &fields),
            });
            match record {
                Ok(record) => self.accept(declaration, record, reject),
                Err(reason) => {
                    self.rejects.insert(reject(reason));
                }
            }
        }
    }

    fn accept(
        &mut self,
        declaration: &Declaration,
        record: Record,
        reject: impl FnOnce(Reason) -> Reject,
    ) {
        let Record { key, version, row } = record;
        if let Some(key) = declaration.version_key(&row) {
            self.history.insert(key, row.clone());
        }
        let key = (declaration.dataset.clone(), key);
        let is_outranked = self.versions.get(&key).is_some_and(|higher| *higher > version);
        let is_below_refused = self.refused.get(&key).is_some_and(|(higher, _)| *higher > version);
        if !is_below_refused && let Some((_, superseded)) = self.refused.remove(&key) {
            self.rejects.remove(&superseded);
            self.may_be_rejected.insert(superseded);
        }
        let refusal = self.refusal.filter(|refusal| (refusal.refuses)(&row));
        match refusal.map(|refusal| reject(refusal.reason)) {
            Some(reject) if is_outranked || is_below_refused => {
                self.may_be_rejected.insert(reject);
            }
            Some(reject) => {
                self.refused.insert(key, (version, reject.clone()));
                self.rejects.insert(reject);
            }
            None if is_outranked => {}
            None => {
                self.versions.insert(key.clone(), version);
                self.rows.insert(key, row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: i64, title: &str) -> String {
        format!(
            r#"{{"id":{id},"title":"{title}","price":1.50,"category":"c","brand":"b","url":"","description":""}}"#
        )
    }

    fn places(rejects: &BTreeSet<Reject>) -> Vec<(i64, i64)> {
        rejects.iter().map(|reject| (reject.object, reject.line)).collect()
    }

    #[test]
    fn last_line_that_the_database_accepts_wins() {
        let refusal =
            Refusal { refuses: |row| row["title"] == "no", reason: "refused_by_database" };
        let objects = [
            [line(1, "a"), line(1, "no"), line(2, "no")].join("\n"),
            [line(2, "b"), line(2, "no"), line(2, "no")].join("\n"),
        ];
        let expected = fold_refusing(&objects, Some(refusal));
        let titles: Vec<_> = expected.rows.values().map(|row| &row["title"]).collect();
        assert_eq!(titles, ["a", "b"]);
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
        let rows: Vec<_> = expected.rows.values().collect();
        assert_eq!((&*rows[0]["title"], &*rows[1]["price"]), ("b", "1.5"));
        let rejects: Vec<_> = expected.rejects.iter().collect();
        assert_eq!((rejects[0].object, rejects[0].line), (1, 3));
        assert_eq!(usize::try_from(rejects[0].offset).ok(), first.find("nonsense"));
        assert_eq!(rejects[1].reason, "out_of_range");
    }

    const NOTES: &str = "
        key = 'id'
        version = 'version'
        deleted = { column = 'op', equals = 1 }
        columns = { id = 'uuid', text = 'text', version = 'bigint' }";

    /// The texts and versions of the rows of records with these texts and versions; without a text they delete.
    fn rows(records: &[(&str, i64)]) -> (Expected, Vec<(String, String)>) {
        let refusal = Refusal {
            refuses: |row| row.get("text").is_some_and(|text| text == "no"),
            reason: "refused_by_database",
        };
        let mut expected = Expected::refusing(Some(refusal));
        let records = records.iter().map(|(text, version)| {
            let op = u8::from(text.is_empty());
            format!(
                "{{\"id\":\"{:036}\",\n\"op\":{op},\"text\":\"{text}\",\"version\":{version}}}",
                0
            )
            .replace(&"0".repeat(36), "6ba7b810-9dad-11d1-80b4-00c04fd430c8")
        });
        let content = records.collect::<String>();
        expected.add(&Declaration::read("notes", NOTES), Format::Json, content.as_bytes());
        let of = |row: &Row, name| row.get(name).cloned().unwrap_or_default();
        let rows = expected.rows.values().map(|row| (of(row, "text"), of(row, "version")));
        let rows = rows.collect();
        (expected, rows)
    }

    #[test]
    fn highest_version_wins_and_may_delete() {
        for (records, text, version) in [
            (&[("a", 2), ("b", 1)][..], "a", "2"),
            (&[("a", 2), ("b", 2)], "b", "2"),
            (&[("a", 1), ("", 3), ("b", 2)], "", "3"),
            (&[("", 3), ("b", 4)], "b", "4"),
        ] {
            assert_eq!(rows(records).1, [(text.to_owned(), version.to_owned())], "{records:?}");
        }
    }

    #[test]
    fn refused_record_is_certainly_rejected_only_above_all_others() {
        for (records, rejected, may_be) in [
            (&[("a", 1), ("no", 2)][..], &[(1, 2)][..], &[][..]),
            (&[("no", 2), ("a", 1)], &[(1, 1)], &[]),
            (&[("a", 2), ("no", 1)], &[], &[(1, 2)]),
            (&[("no", 2), ("no", 1)], &[(1, 1)], &[(1, 2)]),
            (&[("no", 2), ("", 2)], &[], &[(1, 1)]),
        ] {
            let (expected, _) = rows(records);
            assert_eq!(places(&expected.rejects), rejected, "{records:?}");
            assert_eq!(places(&expected.may_be_rejected), may_be, "{records:?}");
        }
    }
}
