//! Generated products: what a line says, as a function of seed, id and revision.

use std::io::Write;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

/// Makes a line of about 540 bytes.
const DESCRIPTION_BYTES: usize = 382;

/// The words that products are made of.
#[derive(Deserialize)]
struct Words {
    series: Vec<String>,
    sentences: Vec<String>,
    shelves: Vec<Shelf>,
}

#[derive(Deserialize)]
struct Shelf {
    category: String,
    things: Vec<String>,
    brands: Vec<String>,
}

/// Products, the same for a seed on every machine.
pub(crate) struct Catalogue {
    words: Words,
    seed: u64,
}

impl Catalogue {
    pub(crate) fn new(seed: u64) -> anyhow::Result<Self> {
        Ok(Self { words: toml::from_str(include_str!("catalogue.toml"))?, seed })
    }

    /// A number from 0 to 9,999 that belongs to the id.
    pub(crate) fn lot(&self, id: u64) -> u32 {
        self.randomness(id, u64::MAX).random_range(0..10_000)
    }

    /// Appends a product as a line without its end. A revision differs from every other of the same id in its price,
    /// and nearly always in its description.
    pub(crate) fn write(&self, id: u64, revision: u32, line: &mut Vec<u8>) -> std::io::Result<()> {
        let mut fixed = self.randomness(id, 0);
        let kind = pick(&self.words.shelves, &mut fixed);
        let category = &kind.category;
        let thing = pick(&kind.things, &mut fixed);
        let brand = pick(&kind.brands, &mut fixed);
        let series = pick(&self.words.series, &mut fixed);
        let model = fixed.random_range(10..1000);
        let cents = fixed.random_range(500..200_000) + revision * fixed.random_range(1..500);
        write!(
            line,
            r#"{{"id": {id}, "title": "{brand} {series} {model} {thing}", "price": {}, "#,
            f64::from(cents) / 100.0
        )?;
        write!(
            line,
            r#""category": "{category}", "brand": "{brand}", "url": "https://shop.example.com/{category}/{id}", "description": ""#
        )?;
        self.describe(&mut self.randomness(id, u64::from(revision)), line);
        line.extend_from_slice(b"\"}");
        Ok(())
    }

    fn describe(&self, randomness: &mut ChaCha8Rng, line: &mut Vec<u8>) {
        let until =
            line.len() + randomness.random_range(DESCRIPTION_BYTES / 2..=DESCRIPTION_BYTES * 5 / 4);
        while line.len() < until {
            line.extend_from_slice(pick(&self.words.sentences, randomness).as_bytes());
            line.push(b' ');
        }
        line.pop();
    }

    fn randomness(&self, id: u64, revision: u64) -> ChaCha8Rng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&id.to_le_bytes());
        seed[16..24].copy_from_slice(&revision.to_le_bytes());
        ChaCha8Rng::from_seed(seed)
    }
}

fn pick<'a, T>(of: &'a [T], randomness: &mut ChaCha8Rng) -> &'a T {
    of.choose(randomness).unwrap_or(&of[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seed: u64, id: u64, revision: u32) -> String {
        let mut line = Vec::new();
        let catalogue = Catalogue::new(seed).unwrap();
        catalogue.write(id, revision, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn every_line_is_a_valid_product() {
        let datasets = jetline_datasets::Datasets::built_in().unwrap();
        let products = datasets.get("products").unwrap();
        for id in 1..2000 {
            let line = line(1, id, u32::try_from(id % 3).unwrap());
            products.parse_json(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
    }

    #[test]
    fn line_depends_on_seed_id_and_revision_alone() {
        assert_eq!(line(1, 7, 0), line(1, 7, 0));
        assert_ne!(line(1, 7, 0), line(2, 7, 0));
        assert_ne!(line(1, 7, 0), line(1, 7, 1));
    }
}
