//! The binaries that are measured.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::cargo;

/// The names of the binaries.
const BINARIES: [&str; 6] = [
    "jetline",
    "jetline-migrate",
    "jetline-fetcher",
    "jetline-writer",
    "jetline-api",
    "s3-files",
];

/// Programs by name.
pub(super) struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// Those that somebody has built and put into a directory.
    pub(super) fn from_directory(directory: &Path) -> anyhow::Result<Self> {
        let path = |name: &str| {
            let path = directory.join(name);
            ensure!(path.is_file(), "{} is missing", path.display());
            Ok((name.to_owned(), path))
        };
        Ok(Self(
            BINARIES
                .into_iter()
                .map(path)
                .collect::<anyhow::Result<_>>()?,
        ))
    }

    /// Builds them, as they are released.
    pub(super) fn build() -> anyhow::Result<Self> {
        println!("building {}", BINARIES.join(", "));
        let output = cargo::command()
            .args(["build", "--release", "--workspace"])
            .args(BINARIES.iter().flat_map(|name| ["--bin", name]))
            .arg("--message-format=json-render-diagnostics")
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(
            output.status.success(),
            "cargo build ended with {}",
            output.status
        );
        let messages = String::from_utf8_lossy(&output.stdout);
        Ok(Self(messages.lines().filter_map(executable).collect()))
    }

    /// The path of one of them.
    pub(super) fn path(&self, name: &str) -> anyhow::Result<&Path> {
        let path = self
            .0
            .get(name)
            .with_context(|| format!("{name} was not built"))?;
        Ok(path)
    }
}

/// Name and path, from cargo's message that it has built something to run.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message.get("executable")?.as_str()?;
    let name = message.get("target")?.get("name")?.as_str()?;
    Some((name.to_owned(), path.into()))
}
