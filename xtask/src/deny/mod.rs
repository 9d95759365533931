//! `cargo xtask deny`: whether what the programs are built from keeps the rules of `deny.toml`.
//!
//! The rules that make a change unacceptable are checked here, from what cargo says, so that they hold on every machine:
//! licences, banned crates, sources. cargo-deny, which takes minutes to build, also reads licence files and tells of
//! versions that stand side by side; it is used where it is installed.

mod licence;
mod rules;

use std::{
    collections::HashSet,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::{cargo, deny::rules::Rules};

/// Check licences, banned crates and sources of all dependencies.
///
/// The rules stand in deny.toml. Uses cargo-deny as well where it is installed.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

pub(crate) fn run(_: &Arguments) -> anyhow::Result<()> {
    let rules = Rules::read(&Path::new(ROOT).join("deny.toml"))?;
    let (metadata, used) = (metadata()?, used()?);
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?;
    let packages = packages.iter().filter(|package| {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        used.contains(&(text("name"), text("version")))
    });
    let problems: Vec<_> = packages
        .flat_map(|package| rules.broken_by(package))
        .collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n       "));
    }
    println!("{} crates keep the rules of deny.toml", used.len());
    cargo_deny()
}

/// What cargo knows of every package.
fn metadata() -> anyhow::Result<Value> {
    let arguments = [
        "metadata",
        "--format-version=1",
        "--all-features",
        "--locked",
    ];
    let said = output(cargo::command().args(arguments))?;
    serde_json::from_slice(&said).context("cannot read what cargo metadata said")
}

/// Names and versions of what is built: cargo's metadata, like the lock file, also holds what nothing switches on.
fn used() -> anyhow::Result<HashSet<(String, String)>> {
    let graph = [
        "--workspace",
        "--all-features",
        "--target=all",
        "--edges=all",
        "--locked",
    ];
    let tree = output(
        cargo::command()
            .arg("tree")
            .args(graph)
            .args(["--prefix=none", "--format={p}"]),
    )?;
    let tree = String::from_utf8(tree).context("cannot read what cargo tree said")?;
    let packages = tree.lines().filter_map(|line| {
        let (name, version) = line.split_once(" v")?;
        let version = version.split(' ').next()?;
        Some((name.to_owned(), version.to_owned()))
    });
    Ok(packages.collect())
}

fn output(cargo: &mut Command) -> anyhow::Result<Vec<u8>> {
    let ended = cargo
        .current_dir(ROOT)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(ended.status.success(), "cargo ended with {}", ended.status);
    Ok(ended.stdout)
}

fn cargo_deny() -> anyhow::Result<()> {
    let mut version = cargo::command();
    let version = version
        .args(["deny", "--version"])
        .current_dir(ROOT)
        .output();
    if !version.is_ok_and(|version| version.status.success()) {
        println!(
            "cargo-deny is not installed, its own checks were left out: cargo install --locked cargo-deny"
        );
        return Ok(());
    }
    let mut check = cargo::command();
    let status = check
        .args(["deny", "check", "licenses", "bans", "sources"])
        .current_dir(ROOT)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo deny ended with {status}");
    Ok(())
}
