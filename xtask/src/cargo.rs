//! The cargo that runs xtask.

use std::{env, path::PathBuf, process::Command};

use anyhow::Context;

/// A call of it, as from a shell.
///
/// What cargo tells xtask about its package would, for the build scripts that look at it, be a change: they, and all that
/// depends on them, would be built again each time.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let variable = name.to_string_lossy();
        if variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Where it puts what it builds, this program included.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let target = this.ancestors().nth(2);
    let target = target.context("this program is not in a target directory")?;
    Ok(target.to_owned())
}
