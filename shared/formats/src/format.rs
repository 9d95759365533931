//! The formats of objects: names, delimiters and extensions.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use crate::Compression;

/// How the content of an object is divided into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object per line.
    JsonLines,
    /// JSON objects one after another, over any number of lines.
    JsonValues,
    /// One JSON array of objects.
    JsonArray,
    /// CSV as of RFC 4180, with a header.
    Csv(Delimiter),
}

/// What separates the fields of CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delimiter {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// The tab character.
    Tab,
    /// `|`
    Pipe,
}

impl Delimiter {
    /// All delimiters; of several that occur equally often in a header, the first is the delimiter.
    pub const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Pipe];

    /// The character.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
        }
    }
}

impl Delimiter {
    /// The delimiter that is this character.
    pub(crate) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|delimiter| delimiter.byte() == byte)
    }
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 7] = [
        Self::JsonLines,
        Self::JsonValues,
        Self::JsonArray,
        Self::Csv(Delimiter::Comma),
        Self::Csv(Delimiter::Semicolon),
        Self::Csv(Delimiter::Tab),
        Self::Csv(Delimiter::Pipe),
    ];

    /// Its name in messages of the queue.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::JsonValues => "json",
            Self::JsonArray => "json-array",
            Self::Csv(Delimiter::Comma) => "csv",
            Self::Csv(Delimiter::Semicolon) => "csv-semicolon",
            Self::Csv(Delimiter::Tab) => "csv-tab",
            Self::Csv(Delimiter::Pipe) => "csv-pipe",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let format = Self::ALL.into_iter().find(|format| format.name() == name);
        format.ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }
}

/// A text is not the name of a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no format {name:?}; there are: {}", Format::ALL.map(Format::name).join(", "))]
pub struct UnknownFormat {
    name: String,
}

/// The format of an object, and what its records need of its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The format.
    pub format: Format,
    /// The header of CSV, without its line ending; empty in other formats.
    pub header: Bytes,
}

/// Why an object cannot be read in any format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAFormat {
    /// It is no text.
    #[error("object is not JSON or CSV: its content begins like {0}")]
    NotText(String),
    /// Its key or its declaration promises lines.
    #[error(
        "object is one JSON array, not JSON Lines: let its name end in .json, or declare format = \"json\""
    )]
    ArrayInLines,
    /// The header of CSV cannot name the fields.
    #[error("the header of the CSV is not valid: {0}")]
    Header(String),
}

/// Extensions with what they say. Those of compressions follow them.
const EXTENSIONS: [(&str, Named); 5] = [
    (".jsonl", Named::Lines),
    (".ndjson", Named::Lines),
    (".json", Named::Json),
    (".csv", Named::Csv(None)),
    (".tsv", Named::Csv(Some(Delimiter::Tab))),
];

/// What the name of an object says about its format.
#[derive(Clone, Copy)]
pub(crate) enum Named {
    Lines,
    Json,
    Csv(Option<Delimiter>),
}

pub(crate) fn named(key: &str) -> Option<(&'static str, Named)> {
    let key = key.to_ascii_lowercase();
    let mut compressions = Compression::ALL.into_iter();
    let key = compressions.find_map(|one| key.strip_suffix(one.extension())).unwrap_or(&key);
    EXTENSIONS.into_iter().find(|(extension, _)| key.ends_with(extension))
}

/// A name without its extension, and without that of its compression.
#[must_use]
pub fn stem(name: &str) -> &str {
    let without = |extension: &str| {
        let (stem, end) = name.split_at_checked(name.len().checked_sub(extension.len())?)?;
        end.eq_ignore_ascii_case(extension).then_some(stem)
    };
    let compressions = Compression::ALL.into_iter();
    let name = compressions.map(Compression::extension).find_map(without).unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// All extensions, with those of compressions, for messages.
#[must_use]
pub fn extensions() -> String {
    let formats = EXTENSIONS.map(|(extension, _)| extension).join(", ");
    let compressions = Compression::ALL.map(Compression::extension).join(", ");
    format!("{formats}, perhaps followed by {compressions}")
}

/// The extension of a format at the end of a key, before that of a compression.
#[must_use]
pub fn extension(key: &str) -> Option<&'static str> {
    named(key).map(|(extension, _)| extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stem_has_no_extension() {
        for (name, expected) in [
            ("orders.jsonl", "orders"),
            ("orders.JSON.GZ", "orders"),
            ("orders.csv", "orders"),
            ("orders.gz", "orders"),
            ("orders.2024.jsonl.zst", "orders.2024"),
            ("orders", "orders"),
            ("ü", "ü"),
        ] {
            assert_eq!(stem(name), expected, "{name}");
        }
    }

    #[test]
    fn name_of_a_format_is_read_again() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().is_err());
    }
}
