//! A record: from its JSON to a row.

use std::{borrow::Cow, collections::HashSet, mem};

use chrono::{DateTime, Utc};
use jetline_core::{Fingerprint, Key, Position};

use crate::{
    Reason, Rejection,
    dataset::{Column, Dataset, Deleted, MAX_KEY_BYTES, Node, Tree, UnknownFieldPolicy},
    json::{self, Fields, JsonType},
    names::is_name,
    unknown::{Path, UnknownFields},
    value::{Type, Value},
};

/// A valid record, ready to be claimed and stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The key.
    pub key: Key,
    /// The version; 0 in datasets without versions.
    pub version: i64,
    /// The hash of the content; before [`Dataset::redact`], of the columns that are not redacted.
    pub fingerprint: Fingerprint,
    /// The values, in the order of [`Dataset::stored`]; of a delete, all but key and version are null.
    pub values: Vec<Value>,
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The position of its line.
    pub position: Position,
    /// When its object was last modified. A month of expiry is judged at this moment, so that a record that is read again is
    /// valid again.
    pub modified_at: DateTime<Utc>,
}

impl Default for Origin {
    /// No line, at a moment before all others: no month of expiry is past.
    fn default() -> Self {
        Self { position: Position::default(), modified_at: DateTime::<Utc>::MIN_UTC }
    }
}

/// The fields that no column takes.
#[derive(Default)]
struct Extra<'a>(Vec<(Cow<'a, str>, Kept<'a>)>);

enum Kept<'a> {
    /// The text of a JSON value.
    Value(Cow<'a, str>),
    Object(Extra<'a>),
}

impl Extra<'_> {
    /// The fields as a JSON object in its canonical form.
    fn form(&self) -> Result<String, Rejection> {
        let mut fields = Vec::with_capacity(self.0.len());
        for (name, kept) in &self.0 {
            let text = match kept {
                Kept::Value(text) => Cow::Borrowed(&**text),
                Kept::Object(extra) => {
                    Cow::Owned(extra.form().map_err(|rejection| rejection.of(name))?)
                }
            };
            fields.push((name, text));
        }
        let borrowed = fields.iter().map(|(name, text)| (Cow::Borrowed(&***name), &**text));
        let mut form = String::new();
        json::append_object(borrowed.collect(), &mut form, 0).map_err(|rejection| {
            let is_wrong = |text: &str| json::canonical(text, &mut String::new()).is_err();
            let wrong = fields.iter().find(|(_, text)| is_wrong(text));
            wrong.map_or(rejection.clone(), |(name, _)| rejection.of(name))
        })?;
        Ok(form)
    }
}

/// The names of the fields of records that are lists of texts.
#[derive(Clone, Debug)]
pub struct Header {
    fields: Vec<(String, Place)>,
}

impl Header {
    /// The number of fields.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header has at least one field")]
    pub fn len(&self) -> usize {
        self.fields.len()
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Column(usize),
    /// Columns take fields inside it.
    Object,
    /// It marks a delete.
    Marker,
    Unknown,
}

/// A record that is being read.
struct Reader<'d> {
    dataset: &'d Dataset,
    origin: Origin,
    unknown: &'d mut UnknownFields,
    /// The values of the columns, then of the dropped ones.
    values: Vec<Value>,
    /// Whether the record has the column's field.
    is_given: Vec<bool>,
    is_deleted: bool,
}

impl Dataset {
    /// Parses and validates a record that is a JSON object. Every valid record can be stored. No month of expiry is
    /// past.
    pub fn parse_json(&self, record: &[u8]) -> Result<Row, Rejection> {
        self.parse_json_counting(record, Origin::default(), &mut UnknownFields::default())
    }

    /// Like [`Dataset::parse_json`]; counts the fields that no column takes.
    pub fn parse_json_counting(
        &self,
        record: &[u8],
        origin: Origin,
        unknown: &mut UnknownFields,
    ) -> Result<Row, Rejection> {
        let fields = object(utf8(record)?)?;
        let marker = self.deleted.as_ref().and_then(|deleted| {
            let mut fields = fields.0.iter();
            let (_, text) = fields.find(|(name, _)| *name == deleted.field)?;
            deleted.marker_type().read_json(text).ok()
        });
        let mut reader = Reader::new(self, marker.as_ref(), origin, unknown);
        let mut extra = Extra::default();
        reader.read(&self.fields, fields, None, &mut extra)?;
        reader.row(&extra)
    }

    /// Finds the columns of fields with these names. Only the first name of a path can be one of them.
    #[must_use]
    pub fn header(&self, names: Vec<String>) -> Header {
        let place = |name: &String| match self.fields.find(name, 0).map(|at| &self.fields.0[at].1) {
            Some(Node::Column(column)) => Place::Column(*column),
            Some(Node::Dropped(column)) => Place::Column(self.columns.len() + column),
            Some(Node::Object(_)) => Place::Object,
            None if self.deleted.as_ref().is_some_and(|deleted| deleted.field == *name) => {
                Place::Marker
            }
            None => Place::Unknown,
        };
        let fields = names.into_iter().map(|name| (place(&name), name));
        Header { fields: fields.map(|(place, name)| (name, place)).collect() }
    }

    /// Parses and validates a record that is a list of texts, as many as the header has names. An empty text is no value in
    /// an optional column. Counts the fields that no column takes.
    pub fn parse_fields<'a>(
        &self,
        header: &'a Header,
        texts: impl Iterator<Item = Result<&'a str, Rejection>>,
        origin: Origin,
        unknown: &mut UnknownFields,
    ) -> Result<Row, Rejection> {
        let texts = texts.collect::<Result<Vec<&str>, Rejection>>()?;
        let fields = || header.fields.iter().zip(&texts);
        let marker = self.deleted.as_ref().and_then(|deleted| {
            let (_, text) = fields().find(|((_, place), _)| matches!(place, Place::Marker))?;
            deleted.marker_type().read_text(text).ok()
        });
        let mut reader = Reader::new(self, marker.as_ref(), origin, unknown);
        let mut extra = Extra::default();
        for ((name, place), text) in fields() {
            match place {
                Place::Column(column) => reader.fill_text(*column, text)?,
                Place::Marker => {}
                Place::Object if text.is_empty() => {}
                Place::Object => {
                    let message = format!("{name}: a text is not an object");
                    return Err(Rejection::new(Reason::WrongType, message));
                }
                Place::Unknown => {
                    let json = || Cow::Owned(json::quoted(text));
                    reader.keep(Cow::Borrowed(name), JsonType::String, json, None, &mut extra)?;
                }
            }
        }
        reader.row(&extra)
    }
}

impl Deleted {
    fn marker_type(&self) -> Type {
        match self.equals {
            Value::Text(_) => Type::Text,
            Value::Bigint(_) => Type::Bigint,
            _ => Type::Boolean,
        }
    }
}

impl<'d> Reader<'d> {
    /// `marker` is the value of the field that marks deletes.
    fn new(
        dataset: &'d Dataset,
        marker: Option<&Value>,
        origin: Origin,
        unknown: &'d mut UnknownFields,
    ) -> Self {
        let count = dataset.columns.len() + dataset.dropped.len();
        let deleted = dataset.deleted.as_ref();
        let is_deleted = deleted.is_some_and(|deleted| marker == Some(&deleted.equals));
        let mut values = vec![Value::Null; count];
        if dataset.has_defaults && !is_deleted {
            for (column, value) in dataset.columns.iter().zip(&mut values) {
                *value = column.default.clone().unwrap_or(Value::Null);
            }
        }
        Self { dataset, origin, unknown, values, is_given: vec![false; count], is_deleted }
    }

    fn read<'a>(
        &mut self,
        tree: &Tree,
        fields: Fields<'a>,
        outer: Option<&Path<'_>>,
        extra: &mut Extra<'a>,
    ) -> Result<(), Rejection> {
        let mut expected = 0;
        let mut is_seen = vec![false; tree.0.len()];
        let mut unknown: HashSet<Cow<'a, str>> = HashSet::new();
        for (name, text) in fields.0 {
            let Some(place) = tree.find(&name, expected) else {
                if !unknown.insert(name.clone()) {
                    return Err(json::duplicate(&self.shown(Path { outer, name: &name })));
                }
                let of = JsonType::of(text);
                self.keep(name, of, || Cow::Borrowed(text), outer, extra)?;
                continue;
            };
            if mem::replace(&mut is_seen[place], true) {
                return Err(json::duplicate(&Path { outer, name: &name }.dotted()));
            }
            expected = place + 1;
            match &tree.0[place].1 {
                Node::Column(column) => self.fill(*column, text)?,
                Node::Dropped(column) => {
                    self.fill(self.dataset.columns.len() + column, text)?;
                }
                Node::Object(_) if text == "null" => {}
                Node::Object(inner) => {
                    let kind = JsonType::of(text);
                    let path = Path { outer, name: &name };
                    if kind != JsonType::Object {
                        let message =
                            format!("{}: {} is not an object", path.dotted(), kind.name());
                        return Err(Rejection::new(Reason::WrongType, message));
                    }
                    let mut kept = Extra::default();
                    self.read(inner, object(text)?, Some(&path), &mut kept)?;
                    if !kept.0.is_empty() {
                        extra.0.push((name, Kept::Object(kept)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a field that no column takes, with the type of its value and its JSON.
    fn keep<'a>(
        &mut self,
        name: Cow<'a, str>,
        of: JsonType,
        json: impl FnOnce() -> Cow<'a, str>,
        outer: Option<&Path<'_>>,
        extra: &mut Extra<'a>,
    ) -> Result<(), Rejection> {
        let marker = self.dataset.deleted.as_ref();
        let is_marker = outer.is_none() && marker.is_some_and(|marker| name == marker.field);
        if is_marker || self.is_deleted {
            return Ok(());
        }
        let path = Path { outer, name: &name };
        let listed = self.can_show(&name).then_some(path);
        self.unknown.count(listed, of, self.origin.position);
        match self.dataset.unknown {
            UnknownFieldPolicy::Ignore => {}
            UnknownFieldPolicy::Keep => extra.0.push((name, Kept::Value(json()))),
            UnknownFieldPolicy::Reject => {
                let message = format!("no column takes the field {}", self.shown(path));
                return Err(Rejection::new(Reason::UnknownField, message));
            }
        }
        Ok(())
    }

    fn fill(&mut self, at: usize, text: &str) -> Result<(), Rejection> {
        if !self.takes(at) {
            return Ok(());
        }
        let column = self.column(at);
        self.is_given[at] = true;
        if text == "null" {
            return column.check_null();
        }
        let value = column.column_type.read_json(text);
        self.values[at] = value.map_err(|rejection| self.misfit(column, &rejection))?;
        Ok(())
    }

    /// Takes the text of a field that is no JSON.
    fn fill_text(&mut self, at: usize, text: &str) -> Result<(), Rejection> {
        let column = self.column(at);
        if !self.takes(at) {
            return Ok(());
        }
        self.is_given[at] = true;
        if text.is_empty() && column.may_be_missing() {
            return Ok(());
        }
        let value = column.column_type.read_text(text);
        let value = value.map_err(|rejection| self.misfit(column, &rejection))?;
        if matches!(&value, Value::Json(json) if json == "null") {
            return column.check_null();
        }
        self.values[at] = value;
        Ok(())
    }

    /// The column of a value.
    fn column(&self, at: usize) -> &'d Column {
        let dataset = self.dataset;
        let count = dataset.columns.len();
        if at < count { &dataset.columns[at] } else { &dataset.dropped[at - count] }
    }

    /// The rejection of a text that is no value of a column. It may quote the text; not so in a dataset with redaction, where
    /// that can be the value of another column in the wrong field. Those of texts quote nothing.
    fn misfit(&self, column: &Column, rejection: &Rejection) -> Rejection {
        let of = column.column_type;
        if !self.dataset.has_redaction || of == Type::Text {
            return column.named(": ", rejection);
        }
        let message =
            format!("the value is not a valid {of}; it is not shown, as columns are redacted");
        column.named(": ", &Rejection::new(rejection.reason, message))
    }

    /// Whether the name of an unknown field can be in a message. In CSV without a header it is a value.
    fn can_show(&self, name: &str) -> bool {
        !self.dataset.has_redaction || is_name(name)
    }

    /// The names that lead to an unknown field.
    fn shown(&self, path: Path<'_>) -> String {
        if self.can_show(path.name) { path.dotted() } else { "…".to_owned() }
    }

    /// Whether the row has a value in a column: of a delete, only in those of key and version.
    fn takes(&self, at: usize) -> bool {
        !self.is_deleted || at == self.dataset.key || Some(at) == self.dataset.version
    }

    fn row(self, extra: &Extra<'_>) -> Result<Row, Rejection> {
        let dataset = self.dataset;
        let missing = (0..self.values.len()).find(|at| {
            !self.is_given[*at] && self.takes(*at) && !self.column(*at).may_be_missing()
        });
        if let Some(at) = missing {
            let message = format!("the column {} is missing", self.column(at).name);
            return Err(Rejection::new(Reason::MissingField, message));
        }
        for (column, value) in dataset.columns.iter().chain(&dataset.dropped).zip(&self.values) {
            column.check(value, self.origin.modified_at)?;
        }
        let given = dataset.one_of.iter().filter(|at| !self.values[**at].is_null()).count();
        if !dataset.one_of.is_empty() && given != 1 && !self.is_deleted {
            let names = dataset.one_of.iter().map(|at| &*dataset.columns[*at].name);
            let names = names.collect::<Vec<&str>>().join(", ");
            let message = format!("exactly one of {names} must have a value");
            return Err(Rejection::new(Reason::InvalidValue, message));
        }
        let key = dataset.key_of(&self.values[dataset.key])?;
        let version = dataset.version.map_or(0, |at| self.values[at].version());
        let extra = if extra.0.is_empty() { None } else { Some(extra.form()?) };
        let fingerprint = if self.is_deleted {
            dataset.fingerprint_of_delete(&self.values)
        } else {
            dataset.fingerprint(&self.values, extra.as_deref())
        };
        let Self { mut values, is_deleted, .. } = self;
        values.truncate(dataset.columns.len());
        if dataset.unknown == UnknownFieldPolicy::Keep {
            values.push(extra.map_or(Value::Null, Value::Json));
        }
        if dataset.deleted.is_some() {
            values.push(Value::Boolean(is_deleted));
        }
        Ok(Row { key, version, fingerprint, values })
    }
}

impl Column {
    /// Checks a JSON `null`, which is no value.
    fn may_be_missing(&self) -> bool {
        self.optional || self.default.is_some()
    }

    fn check_null(&self) -> Result<(), Rejection> {
        if self.may_be_missing() {
            return Ok(());
        }
        let message = format!("{}: null, and the column is not optional", self.name);
        Err(Rejection::new(Reason::WrongType, message))
    }

    /// Checks a value against the constraints, at a moment.
    pub(crate) fn check(&self, value: &Value, at: DateTime<Utc>) -> Result<(), Rejection> {
        if value.is_null() {
            return Ok(());
        }
        if let Value::Text(text) = value
            && self.index
            && self.redact.is_none()
            && text.len() > MAX_KEY_BYTES
        {
            let message = format!(
                "{} is longer than the {MAX_KEY_BYTES} bytes that an index can hold",
                self.name
            );
            return Err(Rejection::new(Reason::OutOfRange, message));
        }
        let mut constraints = self.constraints.iter();
        constraints
            .try_for_each(|constraint| constraint.check(value, at))
            .map_err(|rejection| self.named(" ", &rejection))
    }

    /// The rejection with the name of the column, and its path if that is another one.
    fn named(&self, separator: &str, rejection: &Rejection) -> Rejection {
        let path = if self.path == [&*self.name] {
            String::new()
        } else {
            format!(" ({})", self.pointer())
        };
        let message = format!("{}{path}{separator}{}", self.name, rejection.message);
        Rejection::new(rejection.reason, message)
    }
}

pub(crate) fn utf8(record: &[u8]) -> Result<&str, Rejection> {
    std::str::from_utf8(record).map_err(|error| {
        let message = format!("not UTF-8 at byte {} of the record", error.valid_up_to());
        Rejection::new(Reason::InvalidUtf8, message)
    })
}

pub(crate) fn object(text: &str) -> Result<Fields<'_>, Rejection> {
    serde_json::from_str(text).map_err(|error| {
        if !error.is_data() {
            return json::invalid(&error);
        }
        // Its message quotes the value that is not an object.
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            return json::invalid(&error);
        }
        let kind = JsonType::of(text.trim_start_matches([' ', '\t', '\r', '\n']));
        let message = format!("{} is not an object", kind.name());
        Rejection::new(Reason::WrongType, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Datasets;

    const GOOD: &str = r#"{"id":1,"title":"t","price":7072.16,"category":"c","brand":"b","url":"u","description":"d"}"#;

    fn parse(line: impl AsRef<[u8]>) -> Result<Row, Rejection> {
        Datasets::built_in().unwrap().get("products").unwrap().parse_json(line.as_ref())
    }

    fn rejection(line: impl AsRef<[u8]>) -> (Reason, String) {
        let rejection = parse(line).unwrap_err();
        (rejection.reason, rejection.message)
    }

    fn with(field: &str, value: &str) -> String {
        let mut line: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(GOOD).unwrap();
        line.remove(field);
        let rest = serde_json::to_string(&line).unwrap();
        format!(r#"{{"{field}":{value},{}"#, &rest[1..])
    }

    #[test]
    fn valid_line_becomes_a_row_in_column_order() {
        let row = parse(GOOD).unwrap();
        assert_eq!(row.key, Key::Int(1));
        assert_eq!(row.values.len(), 7);
        assert_eq!(row.values[1], Value::Text("t".to_owned()));
    }

    #[test]
    fn fingerprint_ignores_spelling() {
        let spaced = GOOD.replace(':', " : ").replace("7072.16", "7072.160");
        assert_eq!(parse(GOOD), parse(&spaced));
    }

    #[test]
    fn integer_is_accepted_in_every_spelling() {
        let zeros = "0".repeat(1000);
        for id in ["1.0", "10e-1", "0.1E1", "1e0", &format!("1{zeros}e-1000")] {
            assert_eq!(parse(with("id", id)), parse(GOOD), "{id}");
        }
        let largest = parse(with("id", "9223372036854775807.0")).unwrap();
        assert_eq!(largest.key, Key::Int(i64::MAX));
    }

    #[test]
    fn invalid_integer_is_quoted_as_in_the_line() {
        let (_, message) = rejection(with("id", "1.00000000000000000000001"));
        assert_eq!(message, "id: 1.00000000000000000000001 has a fraction");
        let (_, message) = rejection(with("id", "18446744073709551616"));
        assert_eq!(message, "id: 18446744073709551616 is out of the range of bigint");
    }

    #[test]
    fn hostile_line_has_a_reason_and_a_short_message() {
        let long = 200_000;
        let nested = |open: &str, close: &str| open.repeat(long) + &close.repeat(long);
        let names: Vec<String> = (0..50_000).map(|name| format!("\"{name}\":0,")).collect();
        let names = names.concat();
        for (line, reason) in [
            (nested("[", "]"), Reason::WrongType),
            (nested("[", ""), Reason::InvalidJson),
            (with("title", &nested("[", "]")), Reason::WrongType),
            (with("price", &nested("[", "]")), Reason::WrongType),
            (with("price", &nested("{\"a\":[", "]}")), Reason::WrongType),
            (with("id", &format!("\"{}\"", "\\u0001".repeat(long))), Reason::WrongType),
            (with("id", &format!("1.{}", "1".repeat(long))), Reason::WrongType),
            (with("price", &"1".repeat(long)), Reason::OutOfRange),
            (with("price", &format!("1e-{}", "1".repeat(long))), Reason::OutOfRange),
            (
                GOOD.replace('{', &format!("{{{}", "\"id\":1.0,".repeat(long))),
                Reason::DuplicateField,
            ),
            (format!("{{{names}\"id\":1.5"), Reason::InvalidJson),
            (format!("{{\"{}\":nothing}}", "\u{1f600}".repeat(long)), Reason::InvalidJson),
        ] {
            let rejection = parse(&line).unwrap_err();
            assert_eq!(rejection.reason, reason, "{line:.40}: {rejection:.200}");
            assert!(rejection.message.capacity() <= 1024, "{line:.40}");
        }
        let ignored = GOOD.replace('{', &format!("{{{names}\"deep\":{},", nested("[", "]")));
        assert!(parse(&ignored).is_ok());
    }

    #[test]
    fn every_kind_of_invalid_line_has_its_reason() {
        let lines: [(String, Reason); 35] = [
            ("nonsense".into(), Reason::InvalidJson),
            (r#"{"id":1"#.into(), Reason::InvalidJson),
            (format!("{GOOD} {GOOD}"), Reason::InvalidJson),
            (with("title", r#""\ud800""#), Reason::InvalidJson),
            ("[]".into(), Reason::WrongType),
            (r#"[1,"t",7,"c","b","u","d"]"#.into(), Reason::WrongType),
            ("[1".into(), Reason::InvalidJson),
            ("17".into(), Reason::WrongType),
            ("null".into(), Reason::WrongType),
            (r#"{"id":1}"#.into(), Reason::MissingField),
            (GOOD.replace("\"id\":1", "\"id\":1,\"id\":2"), Reason::DuplicateField),
            (with("id", r#""1""#), Reason::WrongType),
            (with("id", "1.5"), Reason::WrongType),
            (with("id", "1.00000000000000000000001"), Reason::WrongType),
            (with("id", "1e-999999999"), Reason::WrongType),
            (with("id", "9223372036854775808"), Reason::OutOfRange),
            (with("id", "18446744073709551615"), Reason::OutOfRange),
            (with("id", "18446744073709551616"), Reason::OutOfRange),
            (with("id", "-9223372036854775809"), Reason::OutOfRange),
            (with("id", "9223372036854775808.0"), Reason::OutOfRange),
            (with("id", "1e19"), Reason::OutOfRange),
            (with("id", "1e400"), Reason::OutOfRange),
            (with("id", "1e999999999"), Reason::OutOfRange),
            (with("id", &"9".repeat(100_000)), Reason::OutOfRange),
            (with("id", "-0"), Reason::OutOfRange),
            (with("title", "1e30"), Reason::WrongType),
            (GOOD.replace("\"id\":1", "\"id\":1.0,\"id\":1.0"), Reason::DuplicateField),
            (with("id", "0"), Reason::OutOfRange),
            (with("price", r#""7""#), Reason::WrongType),
            (with("price", "1e40"), Reason::OutOfRange),
            (with("price", "1e999"), Reason::OutOfRange),
            (with("price", "-0.01"), Reason::OutOfRange),
            (with("title", "\"\""), Reason::InvalidValue),
            (with("brand", "\"  \""), Reason::InvalidValue),
            (with("title", r#""a\u0000b""#), Reason::NulCharacter),
        ];
        for (line, reason) in lines {
            assert_eq!(rejection(&line).0, reason, "{line}: {}", rejection(&line).1);
        }
    }

    #[test]
    fn invalid_utf8_is_reported_with_its_offset_even_in_an_ignored_field() {
        let line = [b"{\"x\":\"", &[0xff][..], b"\",", &GOOD.as_bytes()[1..]].concat();
        let (reason, message) = rejection(line);
        assert_eq!(reason, Reason::InvalidUtf8);
        assert!(message.contains("byte 6"), "{message}");
    }

    #[test]
    fn message_names_the_column() {
        assert_eq!(rejection(with("price", "\"7\"")).1, "price: a string is not a number");
        assert_eq!(rejection(with("price", "-1")).1, "price must be at least 0");
        assert_eq!(rejection(r#"{"id":1}"#).1, "the column title is missing");
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let line = GOOD.replace("\"id\":1", "\"id\":1,\"colour\":\"red\"");
        assert_eq!(parse(&line), parse(GOOD));
    }
}
