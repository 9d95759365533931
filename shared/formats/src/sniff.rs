//! Detects content that cannot be text in UTF-8 from its first bytes.
//!
//! A magic number counts only in the first line, and only if the bytes around it are not text: one bad line at the start of
//! an object must be rejected alone. No line of JSON matches: it begins with none of the numbers at offset 0, and contains
//! no NUL, as the others do.

use crate::Compression;

/// Offset, magic number, and what has it.
const MAGIC: [(usize, &[u8], &str); 29] = [
    (0, b"\xff\xfe\0\0", "UTF-32 text"),
    (0, b"\0\0\xfe\xff", "UTF-32 text"),
    (0, b"\xff\xfe", "UTF-16 text"),
    (0, b"\xfe\xff", "UTF-16 text"),
    (0, b"\xfd7zXZ\0", "xz data"),
    (0, b"\x5d\0\0\x80\0", "lzma data"),
    (0, b"\x04\x22\x4d\x18", "lz4 data"),
    (0, b"\xff\x06\0\0sNaPpY", "snappy data"),
    (0, b"\x1f\x9d", "compress data (.Z)"),
    (0, b"\x1f\xa0", "compress data (.Z)"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "a zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a rar archive"),
    (257, b"ustar\0", "a tar archive"),
    (257, b"ustar  \0", "a tar archive"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"GIF89a", "a GIF picture"),
    (0, b"GIF87a", "a GIF picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"RIFF", "a RIFF file (WebP, WAV, AVI)"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (0, b"SQLite format 3\0", "a SQLite database"),
    (0, b"PAR1\x15", "a Parquet file"),
    (0, b"Obj\x01", "an Avro file"),
    (0, b"\x7fELF", "a program"),
];

/// What the content is, if it is not text, by its first bytes: 265 of them, or all. The magic
/// number of a tar archive follows the name of its first file.
pub(crate) fn detect(head: &[u8]) -> Option<String> {
    let mut compressions = Compression::ALL.into_iter();
    if let Some(compression) = compressions.find(|one| one.is_unambiguous(head)) {
        return Some(format!("{compression} data, compressed once more"));
    }
    let begins = |(offset, magic, _): &&(usize, &[u8], &str)| {
        head.split_at_checked(*offset)
            .is_some_and(|(before, head)| head.starts_with(magic) && !before.contains(&b'\n'))
    };
    let magic = MAGIC.iter().find(begins).filter(|_| !is_text(head));
    let magic = magic.map(|(_, _, name)| *name);
    magic.or_else(|| wide(head)).map(str::to_owned)
}

/// Whether the bytes may be text; the last character may be incomplete.
fn is_text(head: &[u8]) -> bool {
    let is_utf8 =
        std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true);
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    is_utf8 && !head.iter().any(is_control)
}

/// UTF-16 or UTF-32 without a byte order mark, if four characters have the pattern of ASCII in it.
fn wide(head: &[u8]) -> Option<&'static str> {
    let is_ascii_pattern = |width: usize, at: usize| {
        let mut first = head.iter().take(4 * width).enumerate();
        head.len() >= 4 * width && first.all(|(index, byte)| (index % width == at) == (*byte != 0))
    };
    if is_ascii_pattern(4, 0) || is_ascii_pattern(4, 3) {
        return Some("UTF-32 text");
    }
    (is_ascii_pattern(2, 0) || is_ascii_pattern(2, 1)).then_some("UTF-16 text")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head with some bytes where a tar archive has its magic number.
    fn at_257(begin: &[u8], filler: u8, magic: &[u8]) -> Vec<u8> {
        let mut head = begin.to_vec();
        head.resize(257, filler);
        head.extend_from_slice(magic);
        head
    }

    #[test]
    fn magic_numbers_and_wide_text_are_recognised() {
        let posix = at_257(b"a.jsonl", 0, b"ustar\x0000");
        let gnu = at_257(b"a.jsonl", 0, b"ustar  \0");
        let utf16: Vec<u8> = "{\"id\":1}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let utf32: Vec<u8> = "{\"id\":1}".chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        for (head, expected) in [
            (&b"\xff\xfe{\0\"\0"[..], "UTF-16 text"),
            (&utf16, "UTF-16 text"),
            (&utf32, "UTF-32 text"),
            (b"\xfd7zXZ\0\0\x04", "xz data"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
            (b"\x1f\x8b\x08\0", "gzip data, compressed once more"),
            (&posix, "a tar archive"),
            (&gnu, "a tar archive"),
            (b"PAR1\x15\0\x15", "a Parquet file"),
            (b"GIF89a\x01\0\x01\0\0", "a GIF picture"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "a RIFF file (WebP, WAV, AVI)"),
            (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
        ] {
            assert_eq!(detect(head).as_deref(), Some(expected));
        }
    }

    #[test]
    fn line_of_text_does_not_match_a_magic_number() {
        for mut head in [
            at_257(b"{\"title\":\"", b'm', b"ustard\"}"),
            at_257(b"{\"id\":1}\n", b'm', b"ustar\0"),
            b"{\"id\":1,WEBPVP8\0".to_vec(),
            b"GIF89a, the format\n{\"id\":1}\n".to_vec(),
            b"PAR1\n{\"id\":1}\n".to_vec(),
            b"%PDF-1.7\n{\"id\":1}\n".to_vec(),
            b"RIFFRAFF\n{\"id\":1}\n".to_vec(),
        ] {
            head.truncate(265);
            assert_eq!(detect(&head), None, "{}", head.escape_ascii());
        }
        // Text may end within a character.
        assert_eq!(detect("GIF89a ü".as_bytes().split_last().unwrap().1), None);
    }

    #[test]
    fn text_is_never_detected_as_something_else() {
        for head in [
            &b""[..],
            b"\n\n",
            b"\xef\xbb\xbf{\"id\":1}\n",
            b"[1,2]\n{\"id\":1}\n",
            b"{\n  \"id\": 1\n}\n",
            b"id,title\n1,t\n",
            b"nonsense\n",
            b"a\0b\n{\"id\":1}\n",
            b"\0\0\0\0\0\0\0\0\n{\"id\":1}\n",
            b"BZh\n",
            b"\xff\n{\"id\":1}\n",
        ] {
            assert_eq!(detect(head), None, "{head:?}");
        }
    }
}
