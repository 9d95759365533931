//! The files of a benchmark, made once.

use std::{fs, path::PathBuf};

use anyhow::Context;
use jetline_testkit::programs::target_directory;

use crate::generate;

/// Files of lines.
pub(super) struct Data {
    pub(super) directory: PathBuf,
    pub(super) lines: u64,
    pub(super) ids: u64,
    pub(super) description: String,
}

impl Data {
    /// Generated, or left by an earlier benchmark.
    pub(super) fn get(kind: &generate::Arguments) -> anyhow::Result<Self> {
        let generate::Arguments { lines, ids, files, seed, changed, spread, .. } = kind;
        let changed = changed.map_or_else(String::new, |percent| format!("-changed-{percent}"));
        let spread = if *spread { "-spread" } else { "" };
        let name = format!("lines-{lines}-ids-{ids}-files-{files}-seed-{seed}{changed}{spread}");
        let directory = target_directory()?.join("bench-data").join(name);
        if !directory.exists() {
            println!("generating {lines} lines in {}", directory.display());
            // Under another name first: a directory that is there is complete.
            let unfinished = directory.with_extension("unfinished");
            let _ = fs::remove_dir_all(&unfinished);
            generate::write(&generate::Arguments { out: unfinished.clone(), ..kind.clone() })?;
            fs::rename(&unfinished, &directory).context("cannot rename the finished files")?;
        }
        Ok(Self {
            directory,
            lines: *lines,
            ids: *ids,
            description: format!("{lines} lines, {ids} ids, {files} files, seed {seed}"),
        })
    }
}
