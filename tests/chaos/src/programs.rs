//! Finds the programs of the workspace, in the directory of this one.

use std::{env, path::PathBuf};

use anyhow::{Context, ensure};

/// Their directory.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot find the path of this program")?;
    let folder = this.parent().context("this program is in no directory")?;
    Ok(folder.to_owned())
}

/// The path of a program.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let file = folder()?.join(name);
    ensure!(
        file.is_file(),
        "{} is missing: run `cargo xtask chaos`, which builds it",
        file.display()
    );
    Ok(file)
}
