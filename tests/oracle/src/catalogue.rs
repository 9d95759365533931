//! Test data: few ids and few contents, so that records change and revert often, and every kind of bad line.

use std::pin::Pin;

use async_compression::tokio::bufread::{BzEncoder, GzipEncoder, ZstdEncoder};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::MAX_LINE;

/// A product's line, without its newline.
#[must_use]
pub fn line(id: i64, content: u32) -> String {
    format!(
        r#"{{"id":{id},"title":"Item {id}, state {content}","price":{}.{:02},"category":"things","brand":"Brøndby","url":"https://shop.example.com/{id}","description":"As it is in state {content}: \"good\"."}}"#,
        id % 90 + i64::from(content),
        content * 7 % 100
    )
}

/// Lines of ids up to `ids`, each in one of four states.
#[must_use]
pub fn lines(seed: u64, count: usize, ids: i64) -> Vec<u8> {
    let mut randomness = StdRng::seed_from_u64(seed);
    let mut content = Vec::new();
    for _ in 0..count {
        let (id, state) = (randomness.random_range(1..=ids), randomness.random_range(0..4));
        content.extend_from_slice(line(id, state).as_bytes());
        content.push(b'\n');
    }
    content
}

/// Like `lines`, with a bad line after every `every` lines.
#[must_use]
pub fn lines_with_bad_ones(seed: u64, count: usize, ids: i64, every: usize) -> Vec<u8> {
    let bad = bad_lines();
    let mut bad = bad.iter().cycle();
    let mut content = Vec::new();
    for (number, line) in lines(seed, count, ids).split_inclusive(|b| *b == b'\n').enumerate() {
        content.extend_from_slice(line);
        if number % every == 0 {
            content.extend_from_slice(bad.next().unwrap());
            content.push(b'\n');
        }
    }
    content
}

/// One line of every rejected kind.
#[must_use]
pub fn bad_lines() -> Vec<Vec<u8>> {
    let good = line(7, 1);
    let with = |field: &str, value: &str| {
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&good).unwrap();
        object.remove(field);
        let rest = serde_json::to_string(&object).unwrap();
        format!(r#"{{"{field}":{value},{}"#, &rest[1..]).into_bytes()
    };
    vec![
        b"nonsense".to_vec(),
        good.as_bytes()[..good.len() - 9].to_vec(),
        format!("{good}{good}").into_bytes(),
        b"[]".to_vec(),
        b"null".to_vec(),
        br#"{"id":7}"#.to_vec(),
        good.replace(r#""id":7"#, r#""id":7,"id":8"#).into_bytes(),
        with("id", r#""7""#),
        with("id", "7.5"),
        with("id", "0"),
        with("id", "9223372036854775808"),
        with("price", "\"7\""),
        with("price", "-0.01"),
        with("price", "1e40"),
        with("title", "\"\""),
        with("brand", "\"  \""),
        with("category", "null"),
        with("description", r#""a\u0000b""#),
        [&good.as_bytes()[..20], b"\xff\xfe", &good.as_bytes()[20..]].concat(),
        with("description", &format!("\"{}\"", "x".repeat(MAX_LINE))),
        with("description", &format!("\"{}\"", "y".repeat(5 * MAX_LINE))),
    ]
}

/// The compression of an object.
#[derive(Clone, Copy, Debug)]
pub enum Compression {
    Gzip,
    Zstd,
    Bzip2,
}

/// Compresses like the usual programs.
pub async fn compress(compression: Compression, content: &[u8]) -> Vec<u8> {
    let mut encoder: Pin<Box<dyn AsyncRead + Send + '_>> = match compression {
        Compression::Gzip => Box::pin(GzipEncoder::new(content)),
        Compression::Zstd => Box::pin(ZstdEncoder::new(content)),
        Compression::Bzip2 => Box::pin(BzEncoder::new(content)),
    };
    let mut stored = Vec::new();
    encoder.read_to_end(&mut stored).await.unwrap();
    stored
}

#[test]
fn every_bad_line_is_rejected() {
    let bad = bad_lines();
    let expected = crate::fold(&[bad.join(&b'\n')]);
    assert_eq!(usize::try_from(expected.total()), Ok(bad.len()));
    assert_eq!(expected.rejects.len(), bad.len());
}
