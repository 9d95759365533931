//! `cargo xtask generate`: files of product lines for benchmarks, the same for a seed on every machine.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use flate2::{Compression, write::GzEncoder};

use crate::{
    catalogue::Catalogue,
    lines::{Line, Lines},
};

/// Makes a line of about 540 bytes.
const DESCRIPTION_BYTES: usize = 382;

/// When the first file was written, in seconds since 1970: files are read in the order of their times.
const FIRST_WRITTEN: u64 = 1_767_225_600;

/// Write files of product lines, the same for a seed on every machine.
///
/// Every id stands there once, and ids at random again in the lines left over, half of these with a change.
#[derive(Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Lines in all files together.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) lines: u64,
    /// Different ids.
    #[arg(long, default_value_t = 800_000)]
    pub(crate) ids: u64,
    /// Files.
    #[arg(long, default_value_t = 4)]
    pub(crate) files: u64,
    /// What decides every other choice.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the next day's files instead: every id as it was at the end of the first day, but this percentage of them
    /// changed.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) changed: Option<u32>,
    /// Compress the files.
    #[arg(long)]
    pub(crate) gzip: bool,
    /// The directory to write to.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bytes = write(arguments)?;
    println!(
        "{} lines with {} ids, {bytes} bytes, in {} files in {}",
        arguments.lines,
        arguments.ids,
        arguments.files,
        arguments.out.display()
    );
    Ok(())
}

/// Writes the files; returns how many bytes their lines are.
pub(crate) fn write(arguments: &Arguments) -> anyhow::Result<u64> {
    ensure!(arguments.ids > 0, "--ids must be above 0");
    ensure!(arguments.files > 0, "--files must be above 0");
    ensure!(
        arguments.lines >= arguments.ids,
        "--lines {} cannot hold --ids {}: every id needs a line",
        arguments.lines,
        arguments.ids
    );
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot create {}", arguments.out.display()))?;
    let catalogue = Catalogue::new(arguments.seed, DESCRIPTION_BYTES);
    let mut lines = day(arguments, &catalogue);
    let mut bytes = 0;
    for number in 1..=arguments.files {
        let count = arguments.lines * number / arguments.files
            - arguments.lines * (number - 1) / arguments.files;
        bytes += file(arguments, &catalogue, number, &mut lines, count)?;
    }
    Ok(bytes)
}

fn day(arguments: &Arguments, catalogue: &Catalogue) -> Box<dyn Iterator<Item = Line>> {
    let lines = || Lines::new(arguments.lines, arguments.ids, arguments.seed);
    let Some(percent) = arguments.changed else {
        return Box::new(lines());
    };
    let mut today = lines().last_revisions();
    for (id, revision) in (1..).zip(&mut today) {
        *revision += u32::from(catalogue.lot(id) < percent * 100);
    }
    Box::new(lines().map(move |(id, _)| {
        let at = usize::try_from(id - 1).unwrap_or(usize::MAX);
        (id, today.get(at).copied().unwrap_or_default())
    }))
}

fn file(
    arguments: &Arguments,
    catalogue: &Catalogue,
    number: u64,
    lines: &mut impl Iterator<Item = Line>,
    count: u64,
) -> anyhow::Result<u64> {
    let end = if arguments.gzip { ".gz" } else { "" };
    let path = arguments.out.join(format!("products-{number}.jsonl{end}"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let lines = lines.take(usize::try_from(count)?);
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    let bytes = if arguments.gzip {
        let mut compressed = GzEncoder::new(&mut out, Compression::fast());
        let bytes = write_lines(catalogue, lines, &mut compressed);
        compressed.finish()?;
        bytes
    } else {
        write_lines(catalogue, lines, &mut out)
    };
    let bytes = bytes.with_context(|| format!("cannot write {}", path.display()))?;
    out.flush()
        .with_context(|| format!("cannot write {}", path.display()))?;
    drop(out);
    file.set_modified(written_at(arguments, number))?;
    Ok(bytes)
}

fn write_lines(
    catalogue: &Catalogue,
    lines: impl Iterator<Item = Line>,
    out: &mut impl Write,
) -> io::Result<u64> {
    let mut bytes = 0;
    let mut text = Vec::new();
    for (id, revision) in lines {
        text.clear();
        catalogue.write(id, revision, &mut text)?;
        text.push(b'\n');
        out.write_all(&text)?;
        bytes += text.len() as u64;
    }
    Ok(bytes)
}

/// A minute between files, a day between days.
fn written_at(arguments: &Arguments, number: u64) -> SystemTime {
    let day = u64::from(arguments.changed.is_some());
    SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST_WRITTEN + day * 86_400 + number * 60)
}

/// The files in a directory that hold product lines, in the order in which they were written.
pub(crate) fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files = entries
        .map(|entry| {
            let entry = entry?;
            Ok((entry.metadata()?.modified()?, entry.path()))
        })
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use flate2::read::GzDecoder;

    use super::*;

    fn arguments(out: &Path) -> Arguments {
        Arguments {
            lines: 1000,
            ids: 800,
            files: 3,
            seed: 1,
            changed: None,
            gzip: false,
            out: out.to_owned(),
        }
    }

    fn text(arguments: &Arguments) -> String {
        write(arguments).unwrap();
        let mut text = String::new();
        for path in files(&arguments.out).unwrap() {
            let mut file = File::open(path).unwrap();
            if arguments.gzip {
                GzDecoder::new(file).read_to_string(&mut text).unwrap();
            } else {
                file.read_to_string(&mut text).unwrap();
            }
        }
        text
    }

    /// The last line of each id, by the part that comes before the title.
    fn table(text: &str) -> BTreeMap<&str, &str> {
        text.lines()
            .filter_map(|line| Some((line.split_once(',')?.0, line)))
            .collect()
    }

    #[test]
    fn files_hold_the_same_lines_for_the_same_seed() {
        let [one, other, gzip] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let plain = text(&arguments(one.path()));
        assert_eq!(plain.lines().count(), 1000);
        assert_eq!(plain, text(&arguments(other.path())));
        let compressed = Arguments {
            gzip: true,
            ..arguments(gzip.path())
        };
        assert_eq!(plain, text(&compressed));
    }

    #[test]
    fn lines_are_as_long_as_the_benchmark_says() {
        let out = tempfile::tempdir().unwrap();
        let average = text(&arguments(out.path())).len() / 1000;
        assert!((530..=550).contains(&average), "{average}");
    }

    #[test]
    fn next_day_changes_the_percentage_asked_for() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let today = text(&arguments(one.path()));
        let tomorrow = text(&Arguments {
            changed: Some(10),
            ..arguments(other.path())
        });
        let (today, tomorrow) = (table(&today), table(&tomorrow));
        assert_eq!(today.len(), tomorrow.len());
        let changed = today
            .iter()
            .filter(|(id, line)| tomorrow[*id] != **line)
            .count();
        assert!((50..=110).contains(&changed), "{changed}");
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let out = tempfile::tempdir().unwrap();
        let few = Arguments {
            lines: 10,
            ..arguments(out.path())
        };
        let error = write(&few).unwrap_err().to_string();
        assert!(error.contains("every id needs a line"), "{error}");
    }
}
