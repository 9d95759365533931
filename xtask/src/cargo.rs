//! The cargo that runs xtask.

use std::{
    env,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus},
};

use anyhow::{Context, ensure};

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

/// Builds all programs of the workspace; returns the directory that they are in.
pub(crate) fn build_programs(release: bool) -> anyhow::Result<PathBuf> {
    let mut build = command();
    build.args(["build", "--workspace", "--bins", "--locked"]);
    if release {
        build.arg("--release");
    }
    let status = build.status().context("cannot run cargo")?;
    ensure!(status.success(), "the programs cannot be built");
    Ok(target_directory()?.join(if release { "release" } else { "debug" }))
}

/// Where it puts what it builds, this program included.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program is")?;
    let target = this.ancestors().nth(2);
    let target = target.context("this program is not in a target directory")?;
    Ok(target.to_owned())
}

/// The status of a command as that of this program.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
