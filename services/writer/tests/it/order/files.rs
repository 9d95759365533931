//! Generated files, and the rows that must result from them.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{Rng, rngs::StdRng};

/// A line of a generated file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) id: i64,
    pub(crate) content: char,
    pub(crate) version: i64,
}

/// The content of a line that is not JSON.
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
    pub(crate) body: Bytes,
}

/// A row: its content and its version.
pub(crate) type Row = (String, i64);

impl File {
    /// A file whose lines have one id: `["AB", "A"]` is a chunk of two lines and one of one line.
    pub(crate) fn of_one_id(chunks: &[&str]) -> Self {
        let line = |content| Line { id: 1, content, version: 0 };
        let chunks = chunks.iter().map(|contents| contents.chars().map(line).collect());
        Self { chunks: chunks.collect() }
    }

    /// A file of lines with some of these contents.
    pub(crate) fn random(random: &mut StdRng, ids: i64, versions: bool, contents: &[char]) -> Self {
        let line = |random: &mut StdRng| Line {
            id: random.random_range(1..=ids),
            content: if random.random_bool(0.03) {
                BROKEN
            } else {
                contents[random.random_range(0..contents.len())]
            },
            version: if versions { random.random_range(1..=2) } else { 0 },
        };
        let chunks = (0..random.random_range(1..=4)).map(|_| {
            let lines = random.random_range(1..=2);
            (0..lines).map(|_| line(random)).collect()
        });
        let chunks = chunks.collect();
        Self { chunks }
    }

    pub(crate) fn lines(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }

    pub(crate) fn parts(&self, render: fn(&Line) -> String) -> Vec<Part> {
        let (mut start, mut first_line) = (0, 1);
        let mut parts = Vec::new();
        for chunk in &self.chunks {
            let lines: String = chunk.iter().map(|line| render(line) + "\n").collect();
            let end = start + lines.len() as u64;
            parts.push(Part { start, end, first_line, body: lines.into() });
            start = end;
            first_line += u32::try_from(chunk.len()).unwrap();
        }
        parts
    }
}

/// The table that results from applying the files in order, line by line: the last line of an id wins, unless it has a
/// lower version. Lines that cannot be stored do not count.
pub(crate) fn fold<'a>(files: impl Iterator<Item = &'a File>) -> BTreeMap<i64, Row> {
    let mut table: BTreeMap<i64, Row> = BTreeMap::new();
    for line in files.flat_map(|file| file.chunks.iter().flatten()) {
        if [BROKEN, REFUSED].contains(&line.content) {
            continue;
        }
        let row = (line.content.to_string(), line.version);
        match table.get_mut(&line.id) {
            Some(old) if old.1 > line.version => {}
            Some(old) => *old = row,
            None => drop(table.insert(line.id, row)),
        }
    }
    table
}
