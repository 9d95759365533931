//! `cargo xtask generate`: files of product lines for benchmarks, the same for a seed on every machine.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use clap::value_parser;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::catalogue::Catalogue;

/// When the first file was written, in seconds since 1970: files are read in the order of their times.
const FIRST_WRITTEN: u64 = 1_767_225_600;

/// Between neighbouring ids with `--spread`.
const ID_DISTANCE: u64 = 1_000_003;

/// Write files of product lines, the same for a seed on every machine.
///
/// Every id occurs once, and the lines that are left repeat random ids, half of them with a change.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) content: Content,
    /// The directory to write to.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// What the files hold.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Content {
    #[command(flatten)]
    pub(crate) size: Size,
    /// Write the next day's files instead: every id as it was at the end of the first day, but this percentage of them
    /// changed.
    #[arg(long, value_name = "PERCENT", value_parser = value_parser!(u32).range(0..=100))]
    pub(crate) changed: Option<u32>,
    /// Give neighbouring records ids that are a million apart.
    #[arg(long)]
    pub(crate) spread: bool,
}

/// How many lines there are, and with which seed.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Size {
    /// Lines in all files together.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..))]
    pub(crate) lines: u64,
    /// Different ids; four fifths of the lines when not given.
    #[arg(long, value_parser = value_parser!(u64).range(1..))]
    pub(crate) ids: Option<u64>,
    /// Files.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u64).range(1..))]
    pub(crate) files: u64,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl From<Size> for Content {
    fn from(size: Size) -> Self {
        Self { size, changed: None, spread: false }
    }
}

impl Size {
    pub(crate) fn ids(&self) -> u64 {
        self.ids.unwrap_or((self.lines * 4).div_ceil(5))
    }
}

/// Writes the files into a directory.
pub(crate) fn write(content: &Content, out: &Path) -> anyhow::Result<()> {
    let Size { lines, files, seed, .. } = content.size;
    let ids = content.size.ids();
    ensure!(lines >= ids, "--lines {lines} cannot hold --ids {ids}: every id needs a line");
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let catalogue = Catalogue::new(seed)?;
    let mut day = day(content, &catalogue);
    for number in 1..=files {
        let count = lines * number / files - lines * (number - 1) / files;
        let path = out.join(format!("products-{number}.jsonl"));
        let lines = day.by_ref().take(usize::try_from(count)?);
        write_file(&path, lines, &catalogue)
            .and_then(|file| file.set_modified(written_at(content, number)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn day(content: &Content, catalogue: &Catalogue) -> impl Iterator<Item = Line> + use<> {
    let distance = if content.spread { ID_DISTANCE } else { 1 };
    // The revision of every id on the next day.
    let mut tomorrow = Vec::new();
    if let Some(percent) = content.changed {
        tomorrow = Lines::new(content.size).last_revisions();
        for (id, revision) in (1..).zip(&mut tomorrow) {
            *revision += u32::from(catalogue.lot(id) < percent * 100);
        }
    }
    Lines::new(content.size).map(move |(id, today)| {
        let at = usize::try_from(id - 1).unwrap_or(usize::MAX);
        (id * distance, tomorrow.get(at).copied().unwrap_or(today))
    })
}

fn write_file(
    path: &Path,
    lines: impl Iterator<Item = Line>,
    catalogue: &Catalogue,
) -> io::Result<File> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut text = Vec::new();
    for (id, revision) in lines {
        text.clear();
        catalogue.write(id, revision, &mut text)?;
        text.push(b'\n');
        out.write_all(&text)?;
    }
    Ok(out.into_inner()?)
}

/// A minute between files, a day between days.
fn written_at(content: &Content, number: u64) -> SystemTime {
    let day = u64::from(content.changed.is_some());
    SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST_WRITTEN + day * 86_400 + number * 60)
}

/// An id and which of its revisions.
type Line = (u64, u32);

/// The lines of all files: every id from 1 on once, in order, evenly among repetitions of ids that came before. Every
/// other repetition is a new revision, the rest repeat the latest one.
struct Lines {
    count: u64,
    ids: u64,
    written: u64,
    revisions: Vec<u32>,
    randomness: ChaCha8Rng,
}

impl Lines {
    fn new(size: Size) -> Self {
        Self {
            count: size.lines,
            ids: size.ids(),
            written: 0,
            revisions: Vec::new(),
            randomness: ChaCha8Rng::seed_from_u64(size.seed),
        }
    }

    /// The last revision of every id, in the order of ids.
    fn last_revisions(mut self) -> Vec<u32> {
        self.by_ref().for_each(drop);
        self.revisions
    }
}

impl Iterator for Lines {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        if self.written == self.count {
            return None;
        }
        self.written += 1;
        let introduced = self.revisions.len() as u64;
        // Rounded up: the first line has nothing to repeat.
        if (self.written * self.ids).div_ceil(self.count) > introduced {
            self.revisions.push(0);
            return Some((introduced + 1, 0));
        }
        let id = self.randomness.random_range(1..=introduced);
        let revision = self.revisions.get_mut(usize::try_from(id - 1).ok()?)?;
        *revision += u32::from(self.randomness.random_bool(0.5));
        Some((id, *revision))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SIZE: Size = Size { lines: 1000, ids: None, files: 3, seed: 1 };

    fn text(changed: Option<u32>) -> String {
        let out = tempfile::tempdir().unwrap();
        write(&Content { changed, ..SIZE.into() }, out.path()).unwrap();
        let file = |number| out.path().join(format!("products-{number}.jsonl"));
        [1, 2, 3].map(|number| fs::read_to_string(file(number)).unwrap()).concat()
    }

    #[test]
    fn lines_hold_exactly_the_ids_asked_for() {
        for (lines, ids) in [(1, 1), (10, 10), (1000, 800), (1000, 1), (997, 13)] {
            let size = Size { lines, ids: Some(ids), ..SIZE };
            let all: Vec<Line> = Lines::new(size).collect();
            let seen: BTreeMap<u64, u32> = all.iter().copied().collect();
            assert_eq!(all.len() as u64, lines);
            assert!(seen.keys().copied().eq(1..=ids));
            assert!(seen.into_values().eq(Lines::new(size).last_revisions()));
        }
    }

    #[test]
    fn half_of_the_repetitions_change_something() {
        let size = Size { lines: 10_000, ..SIZE };
        let changed: u32 = Lines::new(size).last_revisions().iter().sum();
        assert!((900..=1100).contains(&changed), "{changed}");
    }

    #[test]
    fn files_hold_the_same_lines_for_the_same_seed() {
        let once = text(None);
        assert_eq!(once.lines().count(), 1000);
        assert!((530_000..=550_000).contains(&once.len()), "{}", once.len());
        assert_eq!(once, text(None));
    }

    #[test]
    fn next_day_changes_the_percentage_asked_for() {
        let (today, tomorrow) = (text(None), text(Some(10)));
        let (today, tomorrow) = (table(&today), table(&tomorrow));
        assert_eq!(today.len(), tomorrow.len());
        let changed = today.iter().filter(|(id, line)| tomorrow[*id] != **line).count();
        assert!((50..=110).contains(&changed), "{changed}");
    }

    /// The last line of each id, by the part that comes before the title.
    fn table(text: &str) -> BTreeMap<&str, &str> {
        let ids = text.lines().filter_map(|line| Some((line.split_once(',')?.0, line)));
        ids.collect()
    }
}
