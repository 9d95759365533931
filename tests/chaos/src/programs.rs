//! The programs of the workspace, which are built beside this one.

use std::{env, path::PathBuf};

use anyhow::{Context, ensure};

/// Where they are.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let folder = this.parent().context("this program is in no directory")?;
    Ok(folder.to_owned())
}

/// One of them.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let file = folder()?.join(name);
    ensure!(
        file.is_file(),
        "{} is missing: run `cargo xtask chaos`, which builds it",
        file.display()
    );
    Ok(file)
}
