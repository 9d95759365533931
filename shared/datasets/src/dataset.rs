//! A dataset: its columns, its key, and the names of the fields that lead to its columns.

use jetline_core::Key;
use serde::Deserialize;

use crate::{
    DeclaredFormat, Destination, Query, Reason, Redaction, Rejection, Row,
    constraints::Constraint,
    value::{Type, Value},
};

/// The maximum length of a text key, in bytes: well below the limit of PostgreSQL's index.
pub const MAX_KEY_BYTES: usize = 1024;

/// The end of the name of the table with the history of a dataset.
pub(crate) const HISTORY_SUFFIX: &str = "_history";

/// What happens to fields that no column takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownFieldPolicy {
    /// They are stored, and given back with the record.
    #[default]
    Keep,
    /// They are dropped.
    Ignore,
    /// The record is rejected.
    Reject,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The names of the fields that lead to it.
    pub path: Vec<String>,
    /// Its type.
    pub column_type: Type,
    /// Whether it may be missing or null.
    pub optional: bool,
    /// Its value where it is missing or null.
    pub default: Option<Value>,
    /// Whether the table has an index of it.
    pub index: bool,
    /// What its values must fulfil; clear ones, if it is redacted.
    pub constraints: Vec<Constraint>,
    /// What is stored instead of its values.
    pub redact: Option<Redaction>,
}

impl Column {
    /// The column of the fields that no column takes, as a JSON object.
    #[must_use]
    pub fn extra() -> Self {
        Self::own("jetline_extra", Type::Json)
    }

    /// The column that marks deleted rows.
    #[must_use]
    pub fn deleted() -> Self {
        Self::own("jetline_deleted", Type::Boolean)
    }

    /// Its path as a JSON Pointer.
    #[must_use]
    pub fn pointer(&self) -> String {
        let escaped = self.path.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
        format!("/{}", escaped.collect::<Vec<String>>().join("/"))
    }

    fn own(name: &str, column_type: Type) -> Self {
        Self {
            name: name.to_owned(),
            path: Vec::new(),
            column_type,
            optional: true,
            index: false,
            constraints: Vec::new(),
            default: None,
            redact: None,
        }
    }
}

/// The field that marks a delete, and its value.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The name of the field.
    pub field: String,
    /// The value that marks a delete.
    pub equals: Value,
}

/// A dataset.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Its name, and that of its table.
    pub name: String,
    /// The number of its declaration in the ledger; 0 if it is in none.
    pub declaration: i64,
    /// Its columns, in the order of the declaration.
    pub columns: Vec<Column>,
    /// Those with [`Redaction::Drop`]: their fields are checked, and neither the table nor a row has them.
    pub dropped: Vec<Column>,
    /// The columns that are Jetline's and have values of the record: behind the others in a row.
    pub own: Vec<Column>,
    /// The other columns of the table, which other declarations have: they become null.
    pub absent: Vec<String>,
    /// What happens to fields that no column takes.
    pub unknown: UnknownFieldPolicy,
    /// How a record says that it deletes.
    pub deleted: Option<Deleted>,
    /// Where its objects are, where SOURCE is not set.
    pub source: Option<String>,
    /// The format of its objects.
    pub format: DeclaredFormat,
    /// The places of columns of which every record has exactly one, unless it deletes.
    pub(crate) one_of: Vec<usize>,
    /// Whether every version of a record is kept. That of the current declaration counts, whatever this one is.
    pub has_history: bool,
    /// Its queries.
    pub queries: Vec<Query>,
    /// Where its changes are delivered to: those of the current declaration, whatever this one is.
    pub destinations: Vec<Destination>,
    pub(crate) key: usize,
    pub(crate) version: Option<usize>,
    pub(crate) fields: Tree,
    /// The indexes of the columns in the order of their names.
    pub(crate) by_name: Vec<usize>,
    pub(crate) has_redaction: bool,
    pub(crate) has_defaults: bool,
}

impl Dataset {
    pub(crate) fn new(
        name: &str,
        columns: Vec<Column>,
        dropped: Vec<Column>,
        key: usize,
        version: Option<usize>,
        deleted: Option<Deleted>,
        unknown: UnknownFieldPolicy,
    ) -> Self {
        let mut fields = Tree::default();
        for (index, column) in columns.iter().enumerate() {
            fields.insert(&column.path, Node::Column(index));
        }
        for (index, column) in dropped.iter().enumerate() {
            fields.insert(&column.path, Node::Dropped(index));
        }
        let has_defaults = columns.iter().any(|column| column.default.is_some());
        let has_redaction = columns.iter().chain(&dropped).any(|column| column.redact.is_some());
        let mut by_name: Vec<usize> = (0..columns.len()).collect();
        by_name.sort_by(|a, b| columns[*a].name.cmp(&columns[*b].name));
        let own = [
            (unknown == UnknownFieldPolicy::Keep).then(Column::extra),
            deleted.is_some().then(Column::deleted),
        ];
        Self {
            name: name.to_owned(),
            declaration: 0,
            columns,
            dropped,
            own: own.into_iter().flatten().collect(),
            absent: Vec::new(),
            unknown,
            deleted,
            source: None,
            format: DeclaredFormat::Auto,
            one_of: Vec::new(),
            has_history: false,
            queries: Vec::new(),
            destinations: Vec::new(),
            key,
            version,
            fields,
            by_name,
            has_redaction,
            has_defaults,
        }
    }

    /// Whether the table has a column of this name.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.stored().any(|stored| stored.name == column)
            || self.absent.iter().any(|absent| absent == column)
    }

    /// The place of a column's value in a row.
    #[must_use]
    pub fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| known.name == column)
    }

    /// The name of the table with every version of its records.
    #[must_use]
    pub fn history_table(&self) -> String {
        format!("{}{HISTORY_SUFFIX}", self.name)
    }

    /// The columns of a row, in the order of its values.
    pub fn stored(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().chain(&self.own)
    }

    /// The columns with an index, by which lists can be filtered.
    pub fn indexed(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.index)
    }

    /// The column of the key.
    #[must_use]
    pub fn key(&self) -> &Column {
        &self.columns[self.key]
    }

    /// The column of the version: a record with a higher version wins over a later one.
    #[must_use]
    pub fn version(&self) -> Option<&Column> {
        self.version.map(|at| &self.columns[at])
    }

    /// Whether rows may have no value in a column; deleted ones have none but key and version.
    #[must_use]
    pub fn is_nullable(&self, column: &Column) -> bool {
        let is_rank = |ranks: &Column| ranks.name == column.name;
        let has_deleted =
            self.deleted.is_some() && !is_rank(self.key()) && !self.version().is_some_and(is_rank);
        column.optional || has_deleted
    }

    /// Whether a row of this dataset deletes.
    #[must_use]
    pub fn is_delete(&self, row: &Row) -> bool {
        self.deleted.is_some() && row.values.last() == Some(&Value::Boolean(true))
    }

    /// Reads a key from its text, as in a path.
    pub fn read_key(&self, text: &str) -> Result<Key, Rejection> {
        self.key_of(&self.key().column_type.read_text(text)?)
    }

    /// The key of a row with these values.
    pub fn key_in(&self, values: &[Value]) -> Result<Key, Rejection> {
        self.key_of(values.get(self.key).unwrap_or(&Value::Null))
    }

    /// The value of the version's column in a row with these values.
    #[must_use]
    pub fn version_in<'a>(&self, values: &'a [Value]) -> Option<&'a Value> {
        self.version.and_then(|at| values.get(at))
    }

    /// The key of a row with this value in the key's column.
    pub fn key_of(&self, value: &Value) -> Result<Key, Rejection> {
        let key = match value {
            Value::Bigint(id) => return Ok(Key::Int(*id)),
            other => other.to_text(),
        };
        if key.len() > MAX_KEY_BYTES {
            let name = &self.key().name;
            let message = format!("{name} is longer than {MAX_KEY_BYTES} bytes");
            return Err(Rejection::new(Reason::OutOfRange, message));
        }
        Ok(Key::Text(key))
    }
}

/// The columns by the fields that lead to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(pub(crate) Vec<(String, Node)>);

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Column(usize),
    /// A column that is dropped, by its index among those.
    Dropped(usize),
    Object(Tree),
}

impl Tree {
    fn insert(&mut self, path: &[String], node: Node) {
        let Some((name, rest)) = path.split_first() else {
            return;
        };
        if rest.is_empty() {
            self.0.push((name.clone(), node));
            return;
        }
        let known = self.0.iter_mut().find(|(known, _)| known == name);
        if let Some((_, Node::Object(tree))) = known {
            tree.insert(rest, node);
        } else {
            let mut tree = Self::default();
            tree.insert(rest, node);
            self.0.push((name.clone(), Node::Object(tree)));
        }
    }

    /// Whether all its columns are dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.0.iter().all(|(_, node)| match node {
            Node::Column(_) => false,
            Node::Dropped(_) => true,
            Node::Object(tree) => tree.is_dropped(),
        })
    }

    /// The place of a field. `expected` is tried first: fields mostly come in the same order.
    pub(crate) fn find(&self, name: &str, expected: usize) -> Option<usize> {
        if self.0.get(expected).is_some_and(|(known, _)| known == name) {
            return Some(expected);
        }
        self.0.iter().position(|(known, _)| known == name)
    }
}
