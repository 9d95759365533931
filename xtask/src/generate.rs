//! `cargo xtask generate`: files of product lines for benchmarks, the same for a seed on every machine.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};

use crate::{
    catalogue::Catalogue,
    lines::{Line, Lines},
};

/// When the first file was written, in seconds since 1970: files are read in the order of their times.
const FIRST_WRITTEN: u64 = 1_767_225_600;

/// Between neighbouring ids with `--spread`.
const ID_DISTANCE: u64 = 1_000_003;

/// Write files of product lines, the same for a seed on every machine.
///
/// Every id occurs once, and the lines that are left repeat random ids, half of them with a change.
#[derive(Clone, Default, clap::Args)]
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
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the next day's files instead: every id as it was at the end of the first day, but this percentage of them
    /// changed.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) changed: Option<u32>,
    /// Give neighbouring records ids that are a million apart.
    #[arg(long)]
    pub(crate) spread: bool,
    /// The directory to write to.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Writes the files.
pub(crate) fn write(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { lines, ids, files, .. } = *arguments;
    ensure!(ids > 0, "--ids must be above 0");
    ensure!(files > 0, "--files must be above 0");
    ensure!(lines >= ids, "--lines {lines} cannot hold --ids {ids}: every id needs a line");
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot create {}", arguments.out.display()))?;
    let catalogue = Catalogue::new(arguments.seed)?;
    let mut day = day(arguments, &catalogue);
    for number in 1..=files {
        let count = lines * number / files - lines * (number - 1) / files;
        let path = arguments.out.join(format!("products-{number}.jsonl"));
        let lines = day.by_ref().take(usize::try_from(count)?);
        write_file(&path, lines, &catalogue)
            .and_then(|file| file.set_modified(written_at(arguments, number)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn day(arguments: &Arguments, catalogue: &Catalogue) -> Box<dyn Iterator<Item = Line>> {
    let lines = || Lines::new(arguments.lines, arguments.ids, arguments.seed);
    let distance = if arguments.spread { ID_DISTANCE } else { 1 };
    let Some(percent) = arguments.changed else {
        return Box::new(lines().map(move |(id, revision)| (id * distance, revision)));
    };
    let mut today = lines().last_revisions();
    for (id, revision) in (1..).zip(&mut today) {
        *revision += u32::from(catalogue.lot(id) < percent * 100);
    }
    Box::new(lines().map(move |(id, _)| {
        let at = usize::try_from(id - 1).unwrap_or(usize::MAX);
        (id * distance, today.get(at).copied().unwrap_or_default())
    }))
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
fn written_at(arguments: &Arguments, number: u64) -> SystemTime {
    let day = u64::from(arguments.changed.is_some());
    SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST_WRITTEN + day * 86_400 + number * 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn text(changed: Option<u32>) -> String {
        let out = tempfile::tempdir().unwrap();
        write(&Arguments {
            lines: 1000,
            ids: 800,
            files: 3,
            seed: 1,
            changed,
            spread: false,
            out: out.path().to_owned(),
        })
        .unwrap();
        let file = |number| out.path().join(format!("products-{number}.jsonl"));
        [1, 2, 3].map(|number| fs::read_to_string(file(number)).unwrap()).concat()
    }

    /// The last line of each id, by the part that comes before the title.
    fn table(text: &str) -> BTreeMap<&str, &str> {
        let ids = text.lines().filter_map(|line| Some((line.split_once(',')?.0, line)));
        ids.collect()
    }

    #[test]
    fn files_hold_the_same_lines_for_the_same_seed() {
        let once = text(None);
        assert_eq!(once.lines().count(), 1000);
        assert_eq!(table(&once).len(), 800);
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
}
