//! The datasets of schedules, and the declarations that a dataset can have one after another.

use std::fmt::Write as _;

use jetline_formats::{Delimiter, Format};
use jetline_store::DeclarationFile;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::files::{File, Line};

const KEYS: [&str; 3] = ["bigint", "text", "uuid"];
const VERSIONS: [Option<&str>; 3] = [None, Some("bigint"), Some("timestamp")];

/// A dataset and its files.
#[derive(Clone)]
pub(crate) struct Dataset {
    pub(crate) kind: Kind,
    /// The first one.
    pub(crate) declaration: Declaration,
    pub(crate) files: Vec<File>,
}

/// What all declarations of a dataset have in common, and the format of its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The type of the key.
    pub(crate) key: &'static str,
    /// The type of the version.
    pub(crate) version: Option<&'static str>,
    pub(crate) is_csv: bool,
}

/// What can differ between the declarations of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    /// The columns besides key and version.
    pub(crate) columns: Vec<&'static str>,
    /// Whether fields that no column takes are kept.
    pub(crate) keeps: bool,
    /// Whether lines can delete.
    pub(crate) deletes: bool,
}

impl Kind {
    /// JSON Lines with integer keys, and without versions.
    pub(crate) const PLAIN: Self = Self { key: "bigint", version: None, is_csv: false };
    /// The same with versions.
    pub(crate) const VERSIONED: Self = Self { version: Some("bigint"), ..Self::PLAIN };

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        KEYS.into_iter().flat_map(|key| {
            let versions = VERSIONS.into_iter();
            versions.map(move |version| Self { key, version, ..Self::PLAIN })
        })
    }

    /// The name of the dataset. Its key and version can never change.
    pub(crate) fn table(&self) -> String {
        format!("{}_{}", self.key, self.version.unwrap_or("none"))
    }

    pub(crate) fn key_text(&self, id: i64) -> String {
        match self.key {
            "bigint" => id.to_string(),
            "uuid" => format!("00000000-0000-0000-0000-{id:012}"),
            _ => format!("key {id}"),
        }
    }

    pub(crate) fn format(&self) -> Format {
        if self.is_csv { Format::Csv(Delimiter::Comma) } else { Format::JsonLines }
    }

    /// The header of CSV, or nothing.
    pub(crate) fn header(&self) -> &'static str {
        match (self.is_csv, self.version) {
            (false, _) => "",
            (true, None) => "id,more,op,text",
            (true, Some(_)) => "id,version,more,op,text",
        }
    }

    /// Whether a line has a field where this is its value: in CSV, it has all.
    pub(crate) fn gives(&self, value: &str) -> bool {
        self.is_csv || !value.is_empty()
    }

    pub(crate) fn render(&self, line: &Line) -> String {
        let mut fields = vec![("id", self.key, self.key_text(line.id))];
        fields.extend(self.version.map(|of| {
            let rest = if of == "timestamp" { "-01-01T00:00:00Z" } else { "" };
            ("version", of, format!("{}{rest}", line.version))
        }));
        fields.extend(line.fields().map(|(name, value)| (name, "text", value)));
        if self.is_csv {
            let values: Vec<String> = fields.into_iter().map(|(_, _, value)| value).collect();
            return values.join(",");
        }
        let given = fields.into_iter().filter(|(_, _, value)| self.gives(value));
        let given = given.map(|(name, of, value)| match of {
            "bigint" => format!("\"{name}\":{value}"),
            _ => format!("\"{name}\":\"{value}\""),
        });
        format!("{{{}}}", given.collect::<Vec<_>>().join(","))
    }

    pub(crate) fn file(&self, declaration: &Declaration) -> DeclarationFile {
        let text = self.text(declaration);
        DeclarationFile::new(&self.table(), "declaration", &text).unwrap()
    }

    /// The text of a declaration.
    pub(crate) fn text(&self, declaration: &Declaration) -> String {
        let mut text = "key = \"id\"\n".to_owned();
        let mut version = String::new();
        if let Some(of) = self.version {
            text += "version = \"version\"\n";
            version = format!("version = \"{of}\"\n");
        }
        if declaration.deletes {
            text += "deleted = { column = \"op\", equals = \"D\" }\n";
        }
        let unknown = if declaration.keeps { "keep" } else { "ignore" };
        let _ =
            writeln!(text, "unknown = \"{unknown}\"\n[columns]\nid = \"{}\"\n{version}", self.key);
        for column in &declaration.columns {
            let _ = writeln!(text, "{column} = {{ type = \"text\", optional = true }}");
        }
        text
    }
}

impl Declaration {
    /// A column takes the content, and nothing else is stored.
    pub(crate) fn plain() -> Self {
        Self { columns: vec!["text"], keeps: false, deletes: false }
    }

    /// All columns that a table can have.
    pub(crate) fn widest() -> Self {
        Self { columns: vec!["text", "more"], keeps: true, deletes: true }
    }
}

/// Draws a kind, a first declaration, and those that follow it. Half of the schedules have a plain dataset, and the others
/// one of any kind. In half of these the declaration changes, once or twice. `refuses` says whether the database refuses lines.
pub(crate) fn random(random: &mut StdRng, refuses: bool) -> (Kind, Declaration, Vec<Declaration>) {
    if random.random() {
        let kind = if random.random_bool(0.2) { Kind::VERSIONED } else { Kind::PLAIN };
        return (kind, Declaration::plain(), Vec::new());
    }
    let kinds: Vec<Kind> = Kind::all().collect();
    let kind = Kind { is_csv: random.random_bool(0.3), ..*kinds.choose(random).unwrap() };
    // Without the column, the fields that are kept have the content.
    let takes_text = random.random_bool(0.7);
    let first = Declaration {
        columns: takes_text.then_some("text").into_iter().collect(),
        keeps: !takes_text || random.random(),
        deletes: random.random_bool(0.7),
    };
    let mut changes: Vec<Declaration> = Vec::new();
    // The database refuses a line for its content only where that is stored: all declarations have to store it then.
    if (takes_text || !refuses) && random.random() {
        for _ in 0..random.random_range(1..=2) {
            let next = changed(random, changes.last().unwrap_or(&first));
            changes.push(next);
        }
    }
    (kind, first, changes)
}

fn changed(random: &mut StdRng, before: &Declaration) -> Declaration {
    let mut after = before.clone();
    match random.random_range(0..3) {
        0 if after.columns.contains(&"more") => after.columns.retain(|column| *column != "more"),
        0 => after.columns.push("more"),
        1 => after.keeps = !after.keeps,
        _ => after.deletes = !after.deletes,
    }
    after
}
