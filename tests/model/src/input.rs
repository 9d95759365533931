//! What is loaded: files, chunks, lines; and which events may happen.

use std::fmt;

use jetline_core::{Fingerprint, ObjectId, Position, Rank};

use crate::Mode;

/// What a line says of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// A content.
    A,
    /// Another one.
    B,
    /// The database refuses it.
    Refused,
    /// It cannot be parsed.
    Invalid,
    /// It deletes the record.
    Delete,
}

impl Content {
    /// What a row of it is, in words.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::Refused => "a refused row",
            Self::Invalid => "an invalid row",
            Self::Delete => "a deleted row",
        }
    }

    /// Its fingerprint, which covers the version.
    #[must_use]
    pub fn fingerprint(self, version: i64) -> Fingerprint {
        let mut bytes = [version as u8; 16];
        bytes[0] = self as u8;
        Fingerprint::from(bytes)
    }

    pub(crate) fn of(fingerprint: Fingerprint) -> Self {
        match fingerprint.as_bytes()[0] {
            0 => Self::A,
            1 => Self::B,
            2 => Self::Refused,
            3 => Self::Invalid,
            _ => Self::Delete,
        }
    }
}

/// A line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    /// The id of its record.
    pub key: u8,
    /// What it says of it.
    pub content: Content,
    /// The version of the record; 0 in datasets without versions.
    pub version: i64,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = char::from(b'x' + self.key);
        write!(f, "{key}={:?}", self.content)?;
        if self.version != 0 { write!(f, " v{}", self.version) } else { Ok(()) }
    }
}

/// The lines of a file, by chunk.
pub type File = Vec<Vec<Line>>;

/// A line as in `xA`, `yB2`: the record (`x` and `y` of one dataset, `z` of another one), what the line says of it (`R` refused, `!` invalid, `D` delete), the version.
/// Lines of a chunk are separated by commas, chunks by spaces.
///
/// # Panics
///
/// If the text is something else.
#[must_use]
pub fn file(text: &str) -> File {
    let line = |text: &str| {
        let mut chars = text.chars();
        let key = u8::try_from(chars.next().unwrap_or('?')).unwrap_or_default() - b'x';
        let content = match chars.next() {
            Some('A') => Content::A,
            Some('B') => Content::B,
            Some('R') => Content::Refused,
            Some('!') => Content::Invalid,
            Some('D') => Content::Delete,
            other => panic!("{text}: {other:?} is no content"),
        };
        let version = chars.next().and_then(|digit| digit.to_digit(10)).map_or(0, i64::from);
        Line { key, content, version }
    };
    text.split(' ').map(|chunk| chunk.split(',').map(line).collect()).collect()
}

/// The rank of a line, counted from 1.
pub(crate) fn rank(object: u8, line: u8, version: i64) -> Rank {
    let object = ObjectId::new(i64::from(object)).unwrap_or_default();
    Rank { version, position: Position::new(object, u32::from(line)) }
}

/// Number of the first line of a chunk, from 1.
pub(crate) fn first_line(file: &File, chunk: u8) -> u8 {
    1 + file[..usize::from(chunk)].iter().map(|lines| lines.len() as u8).sum::<u8>()
}

/// An event that a scenario allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A writer crashes; its messages are delivered again.
    Crash,
    /// The messages of a writer are delivered again while it has them.
    Redeliver,
    /// The stream loses everything.
    LoseStream,
    /// The store loses everything.
    Flush,
    /// The store restarts from an earlier snapshot.
    Restart,
    /// The store fails over to a replica that lags.
    FailOver,
    /// The database goes back to an earlier state: a backup, a replica that lags, commits that were not on the disk.
    Restore,
    /// A writer crashes after it began an epoch in the store and before it did so in the database.
    CrashInBegin,
    /// A chunk is tried alone: it was delivered too often.
    Suspect,
    /// A chunk is dead: it crashed its writers too often.
    Dead,
    /// What is missing of an object cannot be read any more.
    Vanish,
    /// An object is replayed.
    Replay,
}

impl Fault {
    /// What happens, in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Crash => "crash of a writer",
            Self::Redeliver => "redelivery",
            Self::LoseStream => "loss of the stream",
            Self::Flush => "Redis flushed",
            Self::Restart => "Redis restarted",
            Self::FailOver => "Redis failed over",
            Self::Restore => "database restored",
            Self::CrashInBegin => "crash in the beginning of an epoch",
            Self::Suspect => "chunk tried alone",
            Self::Dead => "dead chunk",
            Self::Vanish => "object overwritten",
            Self::Replay => "replay",
        }
    }
}

/// A small deployment: what is loaded, by how many writers, and what may happen.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The files.
    pub files: Vec<File>,
    /// Number of writers.
    pub writers: usize,
    /// Maximum number of chunks in a batch.
    pub batch: usize,
    /// Which events may happen.
    pub faults: Vec<Fault>,
    /// How many events may happen.
    pub limit: u8,
    /// Whether the files may be registered in any order.
    pub any_order: bool,
    /// Maximum number of rejected lines of an object.
    pub max_rejects: Option<u8>,
    /// Whether the counts of lines are compared as well.
    pub counts: bool,
    /// How the writers use dedup. In order, each is a process that reads for itself.
    pub mode: Mode,
    /// In order: how many of the first files only the first process can read, and the second one the others; 0 where
    /// both read all.
    pub own_files: u8,
}

impl Scenario {
    /// A scenario with two writers, each taking one chunk at a time.
    #[must_use]
    pub fn new(name: &'static str, files: &[&str], faults: &[Fault], limit: u8) -> Self {
        Self {
            name,
            files: files.iter().map(|text| file(text)).collect(),
            writers: 2,
            batch: 1,
            faults: faults.to_vec(),
            limit,
            any_order: false,
            max_rejects: None,
            counts: true,
            mode: Mode::Shared,
            own_files: 0,
        }
    }

    /// The files as [`file`] reads them.
    #[must_use]
    pub fn files_text(&self) -> String {
        let line = |line: &Line| {
            let content = match line.content {
                Content::A => 'A',
                Content::B => 'B',
                Content::Refused => 'R',
                Content::Invalid => '!',
                Content::Delete => 'D',
            };
            let version = if line.version == 0 { String::new() } else { line.version.to_string() };
            format!("{}{content}{version}", char::from(b'x' + line.key))
        };
        let chunk = |chunk: &Vec<Line>| chunk.iter().map(line).collect::<Vec<_>>().join(",");
        let file = |file: &File| {
            let chunks: Vec<_> = file.iter().map(chunk).collect();
            format!("`{}`", chunks.join(" "))
        };
        self.files.iter().map(file).collect::<Vec<_>>().join(" ")
    }

    /// How many events may happen, and which.
    #[must_use]
    pub fn events_text(&self) -> String {
        let events: Vec<&str> = self.faults.iter().map(|fault| fault.text()).collect();
        format!("at most {} of: {}", self.limit, events.join(", "))
    }

    pub(crate) fn lines(&self, file: u8, chunk: u8) -> &[Line] {
        &self.files[usize::from(file)][usize::from(chunk)]
    }

    /// The dataset of a file: `z` is a record of another one than `x` and `y`.
    pub(crate) fn dataset(&self, file: u8) -> u8 {
        u8::from(self.lines(file, 0)[0].key == 2)
    }

    pub(crate) fn allows(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}
