//! The programs of the workspace: where they are, and how cargo builds them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

/// A program that is deployed: a package in `services`.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name, and that of its package.
    pub name: &'static str,
    /// The option of the address that it serves health and metrics on.
    pub listen: Option<&'static str>,
}

/// The programs that are deployed.
pub const PROGRAMS: [Program; 6] = [
    Program { name: "jetline", listen: Some("--listen") },
    Program { name: "jetline-fetcher", listen: Some("--observe-listen") },
    Program { name: "jetline-writer", listen: Some("--observe-listen") },
    Program { name: "jetline-courier", listen: Some("--observe-listen") },
    Program { name: "jetline-api", listen: Some("--listen") },
    Program { name: "jetline-migrate", listen: None },
];

/// The directory of the programs that were built with this one.
pub fn directory() -> anyhow::Result<PathBuf> {
    let this = env::current_exe().context("cannot find the path of this program")?;
    let directory = this.parent().context("this program is in no directory")?;
    // Tests are in a directory below.
    let directory = if directory.ends_with("deps") { directory.parent() } else { Some(directory) };
    Ok(directory.context("this program is in no target directory")?.to_owned())
}

/// Where cargo puts what it builds, this program included.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    let directory = directory()?;
    let target = directory.parent().context("this program is in no target directory")?;
    Ok(target.to_owned())
}

/// A call of cargo, as from a shell.
///
/// The variables that cargo sets for this package would make build scripts run again, and everything that depends on them.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let variable = name.to_string_lossy();
        if variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Builds all programs of the workspace; returns their directory.
pub fn build(release: bool) -> anyhow::Result<PathBuf> {
    let target = target_directory()?;
    let mut build = cargo();
    build
        .args(["build", "--workspace", "--bins", "--locked", "--target-dir"])
        .arg(&target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    if release {
        build.arg("--release");
    }
    let status = build.status().context("cannot run cargo")?;
    ensure!(status.success(), "the programs cannot be built");
    Ok(target.join(if release { "release" } else { "debug" }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_package_of_services_is_a_program() {
        let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
        let mut packages: Vec<String> = fs::read_dir(services)
            .unwrap()
            .map(|service| fs::read_to_string(service.unwrap().path().join("Cargo.toml")).unwrap())
            .map(|manifest| manifest.split('"').nth(1).unwrap().to_owned())
            .collect();
        packages.sort_unstable();
        let mut programs = PROGRAMS.map(|program| program.name);
        programs.sort_unstable();
        assert_eq!(packages, programs);
    }
}
