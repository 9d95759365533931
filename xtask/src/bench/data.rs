//! The files of a benchmark, made once.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{
    report::{megabytes, number},
    tables::short,
};
use crate::{cargo::target_directory, generate};

/// What stands in the files.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) lines: u64,
    pub(super) ids: u64,
    pub(super) files: u64,
    pub(super) seed: u64,
    /// The next day's files, in which this percentage of the records has changed.
    pub(super) changed: Option<u32>,
    /// Each id far from the next.
    pub(super) spread: bool,
}

/// Files of lines.
pub(super) struct Data {
    pub(super) directory: PathBuf,
    pub(super) lines: u64,
    pub(super) ids: u64,
    pub(super) bytes: u64,
    kind: Kind,
}

impl Data {
    /// Generated, or left by an earlier benchmark.
    pub(super) fn get(kind: Kind) -> anyhow::Result<Self> {
        let directory = target_directory()?.join("bench-data").join(kind.name());
        if !directory.exists() {
            println!("generating {} lines in {}", kind.lines, directory.display());
            generate(&directory, &kind)?;
        }
        Ok(Self {
            bytes: size(&directory)?,
            directory,
            lines: kind.lines,
            ids: kind.ids,
            kind,
        })
    }

    /// The files, in the order in which they were written.
    pub(super) fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        generate::files(&self.directory)
    }

    /// For the conditions of a report.
    pub(super) fn describe(&self) -> String {
        let Kind { files, seed, .. } = self.kind;
        let files = match files {
            1 => "1 file".to_owned(),
            _ => format!("{} files", short(number(files))),
        };
        format!(
            "{} lines, {} ids, {} MB in {files}, seed {seed}",
            short(number(self.lines)),
            short(number(self.ids)),
            short(megabytes(self.bytes))
        )
    }
}

impl Kind {
    fn name(&self) -> String {
        let Self {
            lines,
            ids,
            files,
            seed,
            changed,
            spread,
        } = self;
        let changed = changed.map_or_else(String::new, |percent| format!("-changed-{percent}"));
        let spread = if *spread { "-spread" } else { "" };
        format!("lines-{lines}-ids-{ids}-files-{files}-seed-{seed}{changed}{spread}")
    }
}

/// Under another name first: a directory that is there is complete.
fn generate(directory: &Path, kind: &Kind) -> anyhow::Result<()> {
    let unfinished = directory.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    generate::write(&generate::Arguments {
        lines: kind.lines,
        ids: kind.ids,
        files: kind.files,
        seed: kind.seed,
        changed: kind.changed,
        gzip: false,
        out: unfinished.clone(),
    })?;
    if kind.spread {
        for file in generate::files(&unfinished)? {
            spread(&file).with_context(|| format!("cannot rewrite {}", file.display()))?;
        }
    }
    fs::rename(&unfinished, directory)
        .with_context(|| format!("cannot create {}", directory.display()))
}

/// Gives every record of a file another id, in the place of the file.
fn spread(file: &Path) -> anyhow::Result<()> {
    let rewritten = file.with_extension("spread");
    let written_at = fs::metadata(file)?.modified()?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&rewritten)?);
    for line in BufReader::with_capacity(1 << 20, File::open(file)?).lines() {
        let line = far_apart(&line?).context("a line does not begin with its id")?;
        writeln!(out, "{line}")?;
    }
    out.into_inner()?.set_modified(written_at)?;
    Ok(fs::rename(&rewritten, file)?)
}

/// Neighbours come to be a million apart.
fn far_apart(line: &str) -> Option<String> {
    const BEFORE: &str = r#"{"id": "#;
    let (id, rest) = line.strip_prefix(BEFORE)?.split_once(',')?;
    let id = id.parse::<u64>().ok()?.checked_mul(1_000_003)?;
    Some(format!("{BEFORE}{id},{rest}"))
}

fn size(directory: &Path) -> anyhow::Result<u64> {
    let sizes = generate::files(directory)?
        .iter()
        .map(|path| Ok(fs::metadata(path)?.len()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(sizes.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_but_for_their_ids() {
        let spread = far_apart(r#"{"id": 3, "title": "a, b", "price": 3}"#).unwrap();
        assert_eq!(spread, r#"{"id": 3000009, "title": "a, b", "price": 3}"#);
        assert_eq!(far_apart(r#"{"title": "a"}"#), None);
    }

    #[test]
    fn spread_files_have_as_many_lines_and_their_time() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("data");
        let kind = Kind {
            lines: 10,
            ids: 8,
            files: 2,
            seed: 1,
            changed: None,
            spread: true,
        };
        generate(&directory, &kind).unwrap();
        let files = generate::files(&directory).unwrap();
        let text: String = files
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        assert_eq!(text.lines().count(), 10);
        assert_eq!(
            text.matches("\"id\": 1000003,").count() + text.matches("\"id\": 1,").count(),
            text.matches("/1\"").count()
        );
        let newest = fs::metadata(&files[1]).unwrap().modified().unwrap();
        assert!(newest.elapsed().unwrap().as_secs() > 3600);
    }
}
