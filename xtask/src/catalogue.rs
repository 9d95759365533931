//! Made-up products: what a line says, as a function of seed, id and revision.

use std::io::Write;

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Category, what its things are called, who makes them.
type Shelf = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const SHELVES: &[Shelf] = &[
    (
        "bicycles",
        &[
            "touring bike",
            "gravel bike",
            "city bike",
            "folding bike",
            "cargo bike",
            "kids' bike",
        ],
        &["Halden", "Vélora", "Northspoke", "Torvik"],
    ),
    (
        "kitchen",
        &[
            "kettle",
            "toaster",
            "stand mixer",
            "hand blender",
            "rice cooker",
            "espresso machine",
        ],
        &["Brünnek", "Casa Lume", "Pottergate", "Mirelle"],
    ),
    (
        "computers",
        &[
            "notebook",
            "mini PC",
            "monitor",
            "keyboard",
            "docking station",
            "graphics tablet",
        ],
        &["Quillon", "Arcbyte", "Nordfeld", "Hexa & Co"],
    ),
    (
        "phones",
        &[
            "smartphone",
            "power bank",
            "headset",
            "wall charger",
            "phone case",
        ],
        &["Lumio", "Arcbyte", "Tellwick"],
    ),
    (
        "household",
        &[
            "vacuum cleaner",
            "washing machine",
            "dryer",
            "steam iron",
            "air purifier",
            "fan heater",
        ],
        &["Brünnek", "Ostwind", "Klarhaus"],
    ),
    (
        "garden",
        &[
            "hedge trimmer",
            "lawn mower",
            "hose reel",
            "garden bench",
            "rain barrel",
        ],
        &["Grünfeld", "Torvik", "Hollyoak"],
    ),
    (
        "books",
        &["cookbook", "atlas", "novel", "bird guide", "drawing course"],
        &["Pottergate", "Papier & Fils", "Inkwell House"],
    ),
    (
        "outdoor",
        &[
            "two-person tent",
            "sleeping bag",
            "rucksack",
            "camping stove",
            "head torch",
        ],
        &["Halden", "Fjällby", "Cairnmoor"],
    ),
];

const LINES: &[&str] = &[
    "Classic", "Trail", "Compact", "Pro", "Duo", "Air", "Nova", "Core", "Studio", "Urban", "Mini",
    "Plus",
];

/// As they stand in a JSON text: quotes and the like are escaped.
const SENTENCES: &[&str] = &[
    "Built for daily use, and repaired with parts that any workshop stocks.",
    "Assembled by hand and checked twice before it leaves the house.",
    "Comes with a spare set of screws and a printed manual in five languages.",
    "The frame is powder coated, so rain and salt leave it alone.",
    "Runs quietly enough for an open kitchen.",
    "Folds flat and fits behind a door.",
    "The battery lasts a working day and charges overnight.",
    "Measures 13.3\\\" across and weighs less than two bags of flour.",
    "Packed in recycled cardboard, without any foam.",
    "Rated \\\"very good\\\" by the readers of a magazine we have never paid.",
    "Every seam is double stitched.",
    "The switch sits where the thumb expects it.",
    "Dishwasher safe up to 70\u{a0}°C.",
    "Two years of warranty, five when registered.",
    "Fits most mounts made after 2015.",
    "The cable is 1.8 m long and can be replaced.",
    "Matches the rest of the series in colour and size.",
    "Delivered by tram or cargo bike within the city.",
    "Its lid closes with a soft click.",
    "Designed in a former mill by four people and a dog.",
    "No app is needed, and none is offered.",
    "The handle stays cool, even after an hour.",
    "Small enough for a shelf, large enough for a family.",
    "Tested at \\u221220 °C and in the summer of Seville.",
];

/// Products, the same for a seed on every machine.
pub(crate) struct Catalogue {
    seed: u64,
    description_bytes: usize,
}

impl Catalogue {
    /// Products whose descriptions are about as long as given.
    pub(crate) fn new(seed: u64, description_bytes: usize) -> Self {
        Self {
            seed,
            description_bytes,
        }
    }

    /// A number from 0 to 9,999 that belongs to the id.
    pub(crate) fn lot(&self, id: u64) -> u32 {
        self.randomness(id, u64::MAX).random_range(0..10_000)
    }

    /// Appends a product as a line without its end. A revision differs from every other of the same id in its price,
    /// and nearly always in its description.
    pub(crate) fn write(&self, id: u64, revision: u32, line: &mut Vec<u8>) -> std::io::Result<()> {
        let mut fixed = self.randomness(id, 0);
        let (category, things, brands) = pick(SHELVES, &mut fixed);
        let (thing, brand, series) = (
            pick(things, &mut fixed),
            pick(brands, &mut fixed),
            pick(LINES, &mut fixed),
        );
        let model = fixed.random_range(10..1000);
        let cents = fixed.random_range(500..200_000) + revision * fixed.random_range(1..500);
        write!(
            line,
            r#"{{"id": {id}, "title": "{brand} {series} {model} {thing}", "price": {}, "#,
            Price(cents)
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
        let until = line.len()
            + randomness.random_range(self.description_bytes / 2..=self.description_bytes * 5 / 4);
        while line.len() < until {
            line.extend_from_slice(pick(SENTENCES, randomness).as_bytes());
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

/// Cents, written as a JSON number without trailing zeros.
struct Price(u32);

impl std::fmt::Display for Price {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, cents) = (self.0 / 100, self.0 % 100);
        match cents {
            0 => write!(f, "{whole}"),
            _ if cents % 10 == 0 => write!(f, "{whole}.{}", cents / 10),
            _ => write!(f, "{whole}.{cents:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seed: u64, id: u64, revision: u32) -> String {
        let mut line = Vec::new();
        Catalogue::new(seed, 100)
            .write(id, revision, &mut line)
            .unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn every_line_is_a_valid_product() {
        let dataset = jetline_records::registry::datasets().remove(0);
        for id in 1..2000 {
            let line = line(1, id, u32::try_from(id % 3).unwrap());
            (dataset.parse)(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
    }

    #[test]
    fn line_depends_on_seed_id_and_revision_alone() {
        assert_eq!(line(1, 7, 0), line(1, 7, 0));
        assert_ne!(line(1, 7, 0), line(2, 7, 0));
        assert_ne!(line(1, 7, 0), line(1, 7, 1));
    }

    #[test]
    fn price_is_written_without_trailing_zeros() {
        let written = |cents| Price(cents).to_string();
        assert_eq!(written(707_216), "7072.16");
        assert_eq!(written(707_210), "7072.1");
        assert_eq!(written(707_200), "7072");
        assert_eq!(written(5), "0.05");
    }
}
