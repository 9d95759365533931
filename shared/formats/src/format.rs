//! The format of an object.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use jetline_datasets::DeclaredFormat;
use serde::de::IgnoredAny;

use crate::{
    Compression, csv, sniff,
    text::{without_mark, without_space},
};

/// How many first bytes of an object [`detect`] needs; a CSV header is within them.
pub const HEAD_BYTES: usize = 64 << 10;

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
    fn of(byte: u8) -> Option<Self> {
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

#[derive(Clone, Copy)]
enum Named {
    Lines,
    Json,
    Csv(Option<Delimiter>),
}

fn named(key: &str) -> Option<(&'static str, Named)> {
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

/// Detects the format, as declared or by the key's extension, then by the content. `head` has the first [`HEAD_BYTES`] bytes, or
/// all.
pub fn detect(key: &str, head: &[u8], declared: DeclaredFormat) -> Result<Detected, NotAFormat> {
    if let Some(detected) = sniff::detect(head) {
        return Err(NotAFormat::NotText(detected));
    }
    let named = match declared {
        DeclaredFormat::Auto => named(key).map(|(_, named)| named),
        DeclaredFormat::JsonLines => Some(Named::Lines),
        DeclaredFormat::Json => Some(Named::Json),
        DeclaredFormat::Csv(delimiter) => Some(Named::Csv(delimiter.and_then(Delimiter::of))),
    };
    let text = without_space(without_mark(head, 0));
    let format = match named {
        Some(Named::Csv(delimiter)) => return csv::detect(head, delimiter),
        Some(Named::Lines) if is_document(text, b'[') => return Err(NotAFormat::ArrayInLines),
        Some(Named::Lines) => Format::JsonLines,
        Some(Named::Json) if text.starts_with(b"[") => Format::JsonArray,
        Some(Named::Json) if has_several_values(text) => Format::JsonValues,
        None if is_document(text, b'[') || is_one_array(text) => Format::JsonArray,
        _ if is_document(text, b'{') => Format::JsonValues,
        _ => Format::JsonLines,
    };
    Ok(Detected { format, header: Bytes::new() })
}

/// Whether the text begins with a JSON value that does not end in its first line.
fn is_document(text: &[u8], opening: u8) -> bool {
    let line = first_line(text);
    if line.first() != Some(&opening) || !line.ends_with(b"\n") {
        return false;
    }
    // A line that ends within a string is a bad one: no string of JSON has a newline.
    let value = serde_json::from_slice::<IgnoredAny>(line);
    value.is_err_and(|error| error.is_eof())
}

/// Whether the text is one line with an array, or begins with one that is as long as the head.
fn is_one_array(text: &[u8]) -> bool {
    text.starts_with(b"[") && text[first_line(text).len()..].trim_ascii().is_empty()
}

/// The first line, with its newline.
fn first_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
    &text[..end]
}

/// Whether the first line has an object, and more behind it.
fn has_several_values(text: &[u8]) -> bool {
    let line = first_line(text);
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    let is_value = |value: serde_json::Result<IgnoredAny>| match value {
        Ok(_) => true,
        Err(error) => error.is_eof(),
    };
    let (first, second) = (values.next(), values.next());
    line.starts_with(b"{")
        && first.is_some_and(|value| value.is_ok())
        && second.is_some_and(is_value)
        && values.all(is_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(key: &str, head: &str) -> Result<Format, NotAFormat> {
        declared(key, head, DeclaredFormat::Auto)
    }

    fn declared(key: &str, head: &str, format: DeclaredFormat) -> Result<Format, NotAFormat> {
        detect(key, head.as_bytes(), format).map(|detected| detected.format)
    }

    #[test]
    fn format_is_detected_by_extension_and_content() {
        let csv = |delimiter| Ok(Format::Csv(delimiter));
        for (key, head, format) in [
            ("a.jsonl", "{\"id\":1}\n", Ok(Format::JsonLines)),
            ("a.jsonl", "{\n\"id\":1}\n", Ok(Format::JsonLines)),
            ("a.jsonl", "[1]\n{\"id\":1}\n", Ok(Format::JsonLines)),
            ("a.jsonl", "nonsense\n", Ok(Format::JsonLines)),
            ("a.ndjson.gz", "", Ok(Format::JsonLines)),
            ("a.jsonl", "[\n{\"id\":1},\n", Err(NotAFormat::ArrayInLines)),
            ("a.jsonl", "\u{feff} [{\"id\":1},\n", Err(NotAFormat::ArrayInLines)),
            ("a.json", "{\"id\":1}\n{\"id\":2}\n", Ok(Format::JsonLines)),
            ("a.json", "{\"id\":1", Ok(Format::JsonLines)),
            ("a.json", "{\"id\":1} {\"id\":2}", Ok(Format::JsonValues)),
            ("a.json", "{\n  \"id\": 1\n}\n", Ok(Format::JsonValues)),
            ("a.json", "nonsense\n{\"id\":2}\n", Ok(Format::JsonLines)),
            ("A.JSON.zst", "\u{feff}\n [{\"id\":1}]", Ok(Format::JsonArray)),
            ("a", "[{\"id\":1},\n{\"id\":2}]", Ok(Format::JsonArray)),
            ("a", "[1,2]\n{\"id\":1}\n", Ok(Format::JsonLines)),
            ("a", "[{\"id\":1},{\"id\":2}]\n", Ok(Format::JsonArray)),
            ("a", "[{\"id\":1},{\"id\":", Ok(Format::JsonArray)),
            ("a.json", "{\"id\":1,\"ti\n{\"id\":2}\n", Ok(Format::JsonLines)),
            ("a.json", "{\"id\":1}}\n{\"id\":2}\n", Ok(Format::JsonLines)),
            ("a.json", "{\"id\":1} {\"id\":\n2}\n", Ok(Format::JsonValues)),
            ("a", "{\n", Ok(Format::JsonValues)),
            ("a.csv", "id,name\n", csv(Delimiter::Comma)),
            ("a.csv.bz2", "id;\"a,b,c\";name\n1,1,1,1,1\n", csv(Delimiter::Semicolon)),
            ("a.csv", "id\tname", csv(Delimiter::Tab)),
            ("a.csv", "id|name", csv(Delimiter::Pipe)),
            ("a.csv", "id\n1,2\n", csv(Delimiter::Comma)),
            ("a.tsv", "id,name\n", csv(Delimiter::Tab)),
            ("a.csv.txt", "id,name\n", Ok(Format::JsonLines)),
        ] {
            assert_eq!(detected(key, head), format, "{key} {head}");
        }
        let Err(NotAFormat::NotText(what)) = detected("a.csv", "PK\u{3}\u{4}\u{14}\0") else {
            panic!("a zip archive is no CSV")
        };
        assert_eq!(what, "a zip archive");
    }

    #[test]
    fn declared_format_counts_more_than_the_extension() {
        let csv = |delimiter| DeclaredFormat::Csv(delimiter);
        for (key, head, format, expected) in [
            ("a.txt", "id,x;y;z\n", csv(Some(b',')), Format::Csv(Delimiter::Comma)),
            ("a.txt", "id,x;y;z\n", csv(None), Format::Csv(Delimiter::Semicolon)),
            ("a.csv", "{\"id\":1}\n", DeclaredFormat::JsonLines, Format::JsonLines),
            ("a.jsonl", "[\n{\"id\":1}]", DeclaredFormat::Json, Format::JsonArray),
        ] {
            assert_eq!(declared(key, head, format), Ok(expected), "{key} {head}");
        }
        let lines = declared("a", "[\n1]", DeclaredFormat::JsonLines);
        assert_eq!(lines, Err(NotAFormat::ArrayInLines));
    }

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
