//! `cargo xtask samples`: the files in `samples/`, which `cargo run` loads.
//!
//! What they show does not depend on the order in which they are read, because a checkout does not keep the times of
//! files: some records are repeated, some changed, three lines are bad, and product 42 stands in one line only.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use flate2::{Compression, GzBuilder};

use crate::{catalogue::Catalogue, lines::Lines};

const SEED: u64 = 2026;
const IDS: u64 = 8_500;
const LINES: u64 = 9_997;
const FILES: u64 = 4;
const DESCRIPTION_BYTES: usize = 70;
const SHOWN_IN_THE_README: u64 = 42;

/// Write the sample files again.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The directory to write to.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY)]
    out: PathBuf,
}

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../samples");

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    fs::create_dir_all(&arguments.out)?;
    for (name, text) in all()? {
        let path = arguments.out.join(name);
        let bytes = stored(&path, text)?;
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: {} bytes", path.display(), bytes.len());
    }
    Ok(())
}

/// Name and text of every file, not compressed yet.
fn all() -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut lines = valid_lines()?;
    let mut take = |number| {
        let count = LINES * number / FILES - LINES * (number - 1) / FILES;
        lines
            .drain(..usize::try_from(count).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let [mut first, second, mut third, mut fourth] = [1, 2, 3, 4].map(&mut take);
    first.insert(1_233, cut_off(&first[1_233]));
    third.insert(776, with_field(8_601, r#""title": """#, "19.9"));
    fourth.insert(
        2_104,
        with_field(8_602, r#""title": "Torvik Core 7 rain barrel""#, "-4.5"),
    );
    let mut last = joined(&fourth, "\n");
    last.truncate(last.trim_ascii_end().len());
    Ok(vec![
        ("products-1.jsonl", joined(&first, "\n")),
        ("products-2.jsonl.gz", joined(&second, "\n")),
        ("products-3.jsonl", joined(&third, "\r\n")),
        ("products-4.jsonl", last),
    ])
}

fn valid_lines() -> anyhow::Result<Vec<Vec<u8>>> {
    let catalogue = Catalogue::new(SEED, DESCRIPTION_BYTES);
    let lines = Lines::new(LINES, IDS, SEED).without_repeating(SHOWN_IN_THE_README);
    lines
        .map(|(id, revision)| {
            let mut line = Vec::new();
            catalogue.write(id, revision, &mut line)?;
            Ok(line)
        })
        .collect()
}

/// What is left of a line when its writer died.
fn cut_off(line: &[u8]) -> Vec<u8> {
    line[..line.len() / 2].to_vec()
}

fn with_field(id: u64, title: &str, price: &str) -> Vec<u8> {
    format!(
        r#"{{"id": {id}, {title}, "price": {price}, "category": "garden", "brand": "Torvik", "url": "https://shop.example.com/garden/{id}", "description": "Catches the rain of a whole roof."}}"#
    )
    .into_bytes()
}

fn joined(lines: &[Vec<u8>], end: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line);
        text.extend_from_slice(end.as_bytes());
    }
    text
}

fn stored(path: &Path, text: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if !is_compressed(path) {
        return Ok(text);
    }
    // Without a time and a name: the same bytes every time.
    let mut compressed = GzBuilder::new().write(Vec::new(), Compression::best());
    compressed.write_all(&text)?;
    Ok(compressed.finish()?)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn committed_files_are_what_the_generator_writes() {
        for (name, text) in all().unwrap() {
            let path = Path::new(DIRECTORY).join(name);
            let stored = fs::read(&path).unwrap();
            let committed = if is_compressed(&path) {
                let mut text = Vec::new();
                GzDecoder::new(&stored[..]).read_to_end(&mut text).unwrap();
                text
            } else {
                stored
            };
            assert!(
                committed == text,
                "{name} differs: run `cargo xtask samples`"
            );
        }
    }

    #[test]
    fn exactly_three_lines_are_bad() {
        let dataset = jetline_records::registry::datasets().remove(0);
        let files = all().unwrap();
        let lines = || {
            files
                .iter()
                .flat_map(|(_, text)| text.split(|byte| *byte == b'\n'))
        };
        let lines = lines().filter(|line| !line.is_empty());
        let mut reasons = Vec::new();
        let mut count = 0;
        for line in lines {
            count += 1;
            if let Err(rejection) = (dataset.parse)(line) {
                reasons.push(rejection.reason.code());
            }
        }
        assert_eq!(count, 10_000);
        assert_eq!(reasons, ["invalid_json", "invalid_value", "out_of_range"]);
    }

    #[test]
    fn third_file_has_crlf_and_the_fourth_no_last_newline() {
        let files = all().unwrap();
        assert!(files[2].1.ends_with(b"}\r\n"));
        assert!(files[3].1.ends_with(b"}"));
    }
}
