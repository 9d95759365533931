//! Detects the format of an object by its key, its declaration and its first bytes.

use bytes::Bytes;
use jetline_datasets::DeclaredFormat;
use serde::de::IgnoredAny;

use crate::{
    Detected, Format, NotAFormat, csv,
    format::{Delimiter, Named, named},
    sniff,
    text::{without_mark, without_space},
};

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
}
