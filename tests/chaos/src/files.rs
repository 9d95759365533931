//! Random files: few ids, many changes and reverts, rejected lines of every kind, several formats.

use jetline_oracle::{
    Format, MAX_LINE,
    catalogue::{Compression, bad_lines, compress, line},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// An object of the source.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) key: String,
    pub(crate) content: Vec<u8>,
    pub(crate) compression: Option<Compression>,
    pub(crate) dataset: &'static str,
    pub(crate) format: Format,
}

/// The parameters of random files.
pub(crate) struct Mixture {
    pub(crate) ids: i64,
    pub(crate) contents: u32,
    pub(crate) lines: usize,
}

impl Mixture {
    pub(crate) fn random(random: &mut StdRng) -> Self {
        Self {
            ids: *[1, 3, 10, 40, 200, 400].choose(random).unwrap_or(&10),
            contents: random.random_range(2..=4),
            lines: random.random_range(60..500),
        }
    }

    /// The same with so many ids that rows are copied.
    pub(crate) fn of_many_ids(self) -> Self {
        Self { ids: 1000, lines: self.lines.max(400), ..self }
    }

    /// A file of this mixture.
    pub(crate) fn file(&self, number: u64, random: &mut StdRng) -> File {
        let mut content = Vec::new();
        if random.random_bool(0.1) {
            content.extend_from_slice("\u{feff}".as_bytes());
        }
        let end: &[u8] = if random.random_bool(0.2) { b"\r\n" } else { b"\n" };
        let bad = bad_lines();
        let lines = if random.random_bool(0.05) { 0 } else { self.lines };
        for _ in 0..lines {
            match random.random_range(0..100) {
                0..4 => content.extend(bad.choose(random).into_iter().flatten()),
                4 => {}
                5 => content.extend(long(random.random_range(1..=self.ids)).bytes()),
                _ => content.extend(self.line(random).bytes()),
            }
            content.extend_from_slice(end);
        }
        if random.random_bool(0.2) && content.ends_with(end) {
            content.truncate(content.len() - end.len());
        }
        let compression = match random.random_range(0..8) {
            0 => Some(Compression::Gzip),
            1 => Some(Compression::Zstd),
            2 => Some(Compression::Bzip2),
            _ => None,
        };
        File { compression, ..of_products(key(number, compression), content) }
    }

    /// A file with each id once, after which the table is the same whatever files were loaded before.
    pub(crate) fn of_all_ids(&self, key: &str, random: &mut StdRng) -> File {
        let lines = (1..=self.ids).map(|id| line(id, random.random_range(0..self.contents)) + "\n");
        of_products(key.to_owned(), lines.collect::<String>().into_bytes())
    }

    fn line(&self, random: &mut StdRng) -> String {
        let id = random.random_range(1..=self.ids);
        line(id, random.random_range(0..self.contents))
    }
}

impl File {
    /// The stored bytes.
    pub(crate) async fn stored(&self) -> Vec<u8> {
        match self.compression {
            Some(compression) => compress(compression, &self.content).await,
            None => self.content.clone(),
        }
    }
}

/// A file with lines of products.
fn of_products(key: String, content: Vec<u8>) -> File {
    File { key, content, compression: None, dataset: "products", format: Format::JsonLines }
}

fn key(number: u64, compression: Option<Compression>) -> String {
    let ending = match compression {
        Some(Compression::Gzip) => ".gz",
        Some(Compression::Zstd) => ".zst",
        Some(Compression::Bzip2) => ".bz2",
        None => "",
    };
    format!("{number:08}.jsonl{ending}")
}

/// The keys that the file of a number may have.
pub(crate) fn keys(number: u64) -> [String; 4] {
    let formats = [Compression::Gzip, Compression::Zstd, Compression::Bzip2].map(Some);
    [None, formats[0], formats[1], formats[2]].map(|compression| key(number, compression))
}

/// A valid line that is almost as long as the limit.
fn long(id: i64) -> String {
    let short = line(id, 9);
    let room = MAX_LINE - 2 - short.len();
    short.replace("As it is", &format!("As {} it is", "very ".repeat(room / 5 - 1)))
}

#[cfg(test)]
mod tests {
    use jetline_oracle::fold;
    use rand::SeedableRng;

    use super::*;

    #[tokio::test]
    async fn files_have_the_expected_lines() {
        let (mixture, mut random) =
            (Mixture { ids: 40, contents: 4, lines: 400 }, StdRng::seed_from_u64(1));
        let (mut compressed, mut empty, mut bad) = (0, 0, 0);
        for number in 1..200 {
            let file = mixture.file(number, &mut random);
            assert!(keys(number).contains(&file.key));
            let expected = fold(&[&file.content]);
            assert!(expected.all_lines[0] <= 400);
            assert_eq!(file.stored().await != file.content, file.compression.is_some());
            compressed += usize::from(file.compression.is_some());
            empty += usize::from(expected.lines[0] == 0);
            bad += expected.rejects.len();
        }
        assert!(compressed > 40 && empty > 2 && bad > 1000, "{compressed}, {empty}, {bad}");
    }
}
