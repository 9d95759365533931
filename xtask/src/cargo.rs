//! The cargo that runs xtask.

use std::{env, process::Command};

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
