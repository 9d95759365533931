//! The data of long runs: few ids and few contents, so that records change and revert often, bad lines, and all line
//! endings and compression formats.

use async_compression::tokio::bufread::GzipEncoder;
use jetline_oracle::MAX_LINE;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::io::AsyncReadExt;

/// Ids are from 1 to this.
pub(super) const IDS: i64 = 4000;

/// How many lines an object has, without bad and blank ones.
const LINES: usize = 400;

/// One in this many lines is bad.
const BAD_EVERY: usize = 40;

/// An object, stored and decompressed.
pub(super) struct Object {
    pub(super) key: String,
    pub(super) stored: Vec<u8>,
    pub(super) plain: Vec<u8>,
}

/// The key of the object of this number. Keys are in the order of numbers.
pub(super) fn key(number: u64) -> String {
    let compression = if is_compressed(number) { ".gz" } else { "" };
    format!("{number:08}.jsonl{compression}")
}

fn is_compressed(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// Generates objects by number, deterministic for a seed.
pub(super) struct Objects {
    randomness: StdRng,
}

impl Objects {
    pub(super) fn new(seed: u64) -> Self {
        Self { randomness: StdRng::seed_from_u64(seed) }
    }

    /// The object with this number. One in three is compressed, one in five has CRLF line endings, others have a byte
    /// order mark, blank lines, or no final newline; one in 97 is empty.
    pub(super) async fn object(&mut self, number: u64) -> anyhow::Result<Object> {
        let is_one_in = |count: u64| number.is_multiple_of(count);
        let plain = if is_one_in(97) { Vec::new() } else { self.content(is_one_in) };
        let mut stored = plain.clone();
        if is_compressed(number) {
            stored.clear();
            GzipEncoder::new(&plain[..]).read_to_end(&mut stored).await?;
        }
        Ok(Object { key: key(number), stored, plain })
    }

    fn content(&mut self, is_one_in: impl Fn(u64) -> bool) -> Vec<u8> {
        let end: &[u8] = if is_one_in(5) { b"\r\n" } else { b"\n" };
        let mut content = Vec::new();
        if is_one_in(7) {
            content.extend_from_slice("\u{feff}".as_bytes());
        }
        for number in 1..=LINES {
            let id = self.randomness.random_range(1..=IDS);
            let state = self.randomness.random_range(0..4);
            content.extend_from_slice(line(id, state).as_bytes());
            content.extend_from_slice(end);
            if number % BAD_EVERY == 0 {
                let kind = self.randomness.random_range(0..BAD_KINDS);
                content.extend_from_slice(&bad_line(kind));
                content.extend_from_slice(end);
            }
            if is_one_in(11) && number % 100 == 0 {
                content.extend_from_slice(end);
            }
        }
        if is_one_in(2) {
            content.truncate(content.len() - end.len());
        }
        content
    }
}

/// A product's line, without its newline.
fn line(id: i64, state: i64) -> String {
    format!(
        r#"{{"id":{id},"title":"Item {id}, state {state}","price":{}.{:02},"category":"things","brand":"Brøndby","url":"https://shop.example.com/{id}","description":"As it is in state {state}: \"good\"."}}"#,
        id % 90 + state,
        state * 7 % 100
    )
}

const BAD_KINDS: u32 = 10;

/// A line that is rejected.
fn bad_line(kind: u32) -> Vec<u8> {
    let good = line(7, 1);
    let long = |length: usize| good.replace("things", &"x".repeat(length)).into_bytes();
    match kind {
        0 => b"nonsense".to_vec(),
        1 => good.as_bytes()[..good.len() - 9].to_vec(),
        2 => b"[]".to_vec(),
        3 => br#"{"id":7}"#.to_vec(),
        4 => good.replace(r#""id":7"#, r#""id":7,"id":8"#).into_bytes(),
        5 => good.replace(r#""id":7"#, r#""id":0"#).into_bytes(),
        6 => good.replace("things", r"a\u0000b").into_bytes(),
        7 => [&good.as_bytes()[..20], b"\xff\xfe", &good.as_bytes()[20..]].concat(),
        8 => long(MAX_LINE),
        _ => long(5 * MAX_LINE),
    }
}

#[cfg(test)]
mod tests {
    use jetline_oracle::fold;

    use super::*;

    #[test]
    fn every_kind_of_bad_line_is_rejected() {
        let bad: Vec<Vec<u8>> = (0..BAD_KINDS).map(bad_line).collect();
        let expected = fold(&[bad.join(&b'\n')]);
        assert_eq!(expected.lines, [i64::from(BAD_KINDS)]);
        assert_eq!(expected.rejects.len(), BAD_KINDS as usize);
    }

    #[tokio::test]
    async fn objects_have_the_expected_lines() {
        let mut objects = Objects::new(1);
        for number in [1, 2, 3, 5, 7, 11, 97, 110] {
            let object = objects.object(number).await.unwrap();
            let expected = fold(&[&object.plain]);
            let bad = LINES / BAD_EVERY;
            let lines = if number == 97 { 0 } else { LINES + bad };
            assert_eq!(usize::try_from(expected.lines[0]).unwrap(), lines);
            assert_eq!(expected.rejects.len(), if number == 97 { 0 } else { bad });
            assert_eq!(object.stored != object.plain, number == 3);
        }
    }
}
