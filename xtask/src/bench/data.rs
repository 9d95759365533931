//! The files of a benchmark, made once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::Arguments;
use crate::cargo::target_directory;
use crate::generate;

/// Files of lines.
pub(super) struct Data {
    pub(super) directory: PathBuf,
    pub(super) lines: u64,
    pub(super) ids: u64,
    pub(super) bytes: u64,
}

impl Data {
    /// Those that the arguments describe: generated, or left by an earlier benchmark.
    pub(super) fn get(arguments: &Arguments) -> anyhow::Result<Self> {
        let lines = arguments.lines.get();
        let ids = arguments.ids.map_or((lines * 4).div_ceil(5), Into::into);
        let (files, seed) = (arguments.files.get(), arguments.seed);
        let directory = target_directory()?
            .join("bench-data")
            .join(format!("lines-{lines}-ids-{ids}-files-{files}-seed-{seed}"));
        if !directory.exists() {
            println!("generating {lines} lines in {}", directory.display());
            generate(&directory, lines, ids, files, seed)?;
        }
        let bytes = size(&directory)?;
        Ok(Self {
            directory,
            lines,
            ids,
            bytes,
        })
    }

    /// The files, in the order in which they were written.
    pub(super) fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        generate::files(&self.directory)
    }
}

/// Under another name first: a directory that is there is complete.
fn generate(directory: &Path, lines: u64, ids: u64, files: u64, seed: u64) -> anyhow::Result<()> {
    let unfinished = directory.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    generate::write(&generate::Arguments {
        lines,
        ids,
        files,
        seed,
        changed: None,
        gzip: false,
        out: unfinished.clone(),
    })?;
    fs::rename(&unfinished, directory)
        .with_context(|| format!("cannot create {}", directory.display()))
}

fn size(directory: &Path) -> anyhow::Result<u64> {
    let sizes = generate::files(directory)?
        .iter()
        .map(|path| Ok(fs::metadata(path)?.len()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(sizes.iter().sum())
}
