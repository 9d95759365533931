//! Generated files, and the rows that must result from them.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{Rng, rngs::StdRng};

use super::declarations::{Declaration, Kind};

/// A line of a generated file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) id: i64,
    pub(crate) content: char,
    /// A year, which is valid as an integer and as the beginning of a timestamp; 0 without versions.
    pub(crate) version: i64,
    /// Whether it marks a delete, for a declaration that has deletes.
    pub(crate) deletes: bool,
    /// Whether it has a second field with its content.
    pub(crate) has_more: bool,
}

/// What the lines of generated files can have.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    pub(crate) ids: i64,
    pub(crate) contents: &'a [char],
    pub(crate) versions: bool,
    pub(crate) deletes: bool,
    pub(crate) more: bool,
}

/// The first year of versions.
const YEAR: i64 = 2001;

/// The content of a line that is not of its format.
pub(crate) const BROKEN: char = '?';

/// The content of a line that the database refuses.
pub(crate) const REFUSED: char = 'R';

/// An object, split into its chunks.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) chunks: Vec<Vec<Line>>,
}

/// A chunk of a file, with its offsets.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) first_line: u32,
    /// The header of CSV included.
    pub(crate) lines: u32,
    pub(crate) body: Bytes,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) version: i64,
    pub(crate) is_deleted: bool,
    /// The other columns that are not null, and as `extra.NAME` the fields that no column takes.
    pub(crate) values: BTreeMap<String, String>,
}

/// The rows by their keys.
pub(crate) type Table = BTreeMap<String, Row>;

impl Line {
    /// Its fields besides key and version. JSON has only those with a value.
    pub(crate) fn fields(&self) -> [(&'static str, String); 3] {
        let more = self.has_more.then(|| self.content.to_ascii_lowercase().to_string());
        let op = if self.deletes { "D" } else { "" };
        [
            ("more", more.unwrap_or_default()),
            ("op", op.to_owned()),
            ("text", self.content.to_string()),
        ]
    }

    /// The row that it makes, which the database may refuse; none if it is broken.
    fn row(&self, kind: &Kind, declaration: &Declaration) -> Option<Row> {
        let is_deleted = self.deletes && declaration.deletes;
        let mut row = Row { version: self.version, is_deleted, values: BTreeMap::new() };
        let fields = if is_deleted { Vec::new() } else { self.fields().into() };
        for (name, value) in fields {
            let is_kept = declaration.keeps && !(declaration.deletes && name == "op");
            if declaration.columns.contains(&name) {
                row.values.extend((!value.is_empty()).then(|| (name.to_owned(), value)));
            } else if is_kept && kind.gives(&value) {
                row.values.insert(format!("extra.{name}"), value);
            }
        }
        (self.content != BROKEN).then_some(row)
    }
}

impl Row {
    fn is_refused(&self) -> bool {
        self.values.values().any(|value| *value == REFUSED.to_string())
    }
}

/// What becomes of the lines of a file, by the declaration of its object.
#[derive(Debug, Default)]
pub(crate) struct LineCounts {
    pub(crate) broken: u64,
    pub(crate) refused: u64,
    pub(crate) deletes: u64,
    pub(crate) others: u64,
}

impl File {
    /// A file whose lines have one id: `["AB", "A"]` is a chunk of two lines and one of one line.
    pub(crate) fn of_one_id(chunks: &[&str]) -> Self {
        let line = |content| Line { id: 1, content, version: 0, deletes: false, has_more: false };
        let chunks = chunks.iter().map(|contents| contents.chars().map(line).collect());
        Self { chunks: chunks.collect() }
    }

    /// A file of one line, for datasets with versions.
    pub(crate) fn of_version(version: i64) -> Self {
        let mut file = Self::of_one_id(&["A"]);
        file.chunks[0][0].version = YEAR + version;
        file
    }

    pub(crate) fn deleting(mut self) -> Self {
        self.chunks.iter_mut().flatten().for_each(|line| line.deletes = true);
        self
    }

    pub(crate) fn with_more(mut self) -> Self {
        self.chunks.iter_mut().flatten().for_each(|line| line.has_more = true);
        self
    }

    pub(crate) fn random(random: &mut StdRng, lines: &Lines<'_>) -> Self {
        let has_more = lines.more && random.random();
        let line = |random: &mut StdRng| {
            let id = random.random_range(1..=lines.ids);
            let content = if random.random_bool(0.03) {
                BROKEN
            } else {
                lines.contents[random.random_range(0..lines.contents.len())]
            };
            let version = if lines.versions { YEAR + random.random_range(0..=1) } else { 0 };
            // A line must not be refused by one declaration only: where a replay rejects it, its row stays.
            let deletes = lines.deletes && content != REFUSED && random.random_bool(0.4);
            Line { id, content, version, deletes, has_more }
        };
        let chunks = (0..random.random_range(1..=4)).map(|_| {
            let lines = random.random_range(1..=2);
            (0..lines).map(|_| line(random)).collect()
        });
        let chunks = chunks.collect();
        Self { chunks }
    }

    pub(crate) fn parts(&self, kind: &Kind) -> Vec<Part> {
        let (mut start, mut first_line) = (0, 1);
        let mut parts = Vec::new();
        for chunk in &self.chunks {
            let header = (start == 0 && kind.is_csv).then(|| kind.header().to_owned());
            let text = |line: &Line| match line.content {
                BROKEN => "broken".to_owned(),
                _ => kind.render(line),
            };
            let texts: Vec<String> = header.into_iter().chain(chunk.iter().map(text)).collect();
            let (body, lines) = (texts.join("\n") + "\n", u32::try_from(texts.len()).unwrap());
            let end = start + body.len() as u64;
            parts.push(Part { start, end, first_line, lines, body: body.into() });
            start = end;
            first_line += lines;
        }
        parts
    }

    pub(crate) fn count(&self, kind: &Kind, declaration: &Declaration) -> LineCounts {
        let mut counts = LineCounts::default();
        for line in self.chunks.iter().flatten() {
            let count = match line.row(kind, declaration) {
                None => &mut counts.broken,
                Some(row) if row.is_refused() => &mut counts.refused,
                Some(row) if row.is_deleted => &mut counts.deletes,
                Some(_) => &mut counts.others,
            };
            *count += 1;
        }
        counts
    }
}

/// The table that results from applying the files in order, line by line: the last line of an id wins, unless it has a
/// lower version. A line that deletes makes a row like any other. Lines that cannot be stored do not count.
pub(crate) fn fold<'a>(
    kind: &Kind,
    files: impl Iterator<Item = (&'a File, &'a Declaration)>,
) -> Table {
    let mut table = Table::new();
    for (file, declaration) in files {
        for line in file.chunks.iter().flatten() {
            let row = line.row(kind, declaration).filter(|row| !row.is_refused());
            let Some(row) = row else { continue };
            let key = kind.key_text(line.id);
            if table.get(&key).is_none_or(|old| old.version <= row.version) {
                table.insert(key, row);
            }
        }
    }
    table
}
