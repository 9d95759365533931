//! promtool: found, or unpacked from Debian's package, and asked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use jetline_testkit::process::program;

use crate::cargo::target_directory;

/// Debian's package that holds promtool among other things. It is unpacked, not installed: it would start a server.
const PACKAGE: &str = "prometheus";

/// Checks the configuration in the folder with all the rules that it names, and runs the tests of the alerts.
pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    let promtool = found_or_fetched()?;
    // Rule files are looked for beside the file that names them: these paths are right in the container too.
    run(
        &promtool,
        &["check", "config"],
        &folder.join("prometheus.yml"),
    )?;
    run(
        &promtool,
        &["test", "rules"],
        &folder.join("alerts_test.yml"),
    )
}

fn run(promtool: &Path, what: &[&str], file: &Path) -> anyhow::Result<()> {
    let status = Command::new(promtool)
        .args(what)
        .arg(file)
        .status()
        .context("cannot run promtool")?;
    let what = what.join(" ");
    ensure!(
        status.success(),
        "promtool {what} {} ended with {status}",
        file.display()
    );
    Ok(())
}

fn found_or_fetched() -> anyhow::Result<PathBuf> {
    if let Ok(promtool) = program("promtool") {
        return Ok(promtool);
    }
    let folder = target_directory()?.join("promtool");
    let promtool = folder.join("usr/bin/promtool");
    if !promtool.is_file() {
        fetch(&folder)?;
        ensure!(
            promtool.is_file(),
            "the package {PACKAGE} holds no {}",
            promtool.display()
        );
    }
    Ok(promtool)
}

fn fetch(folder: &Path) -> anyhow::Result<()> {
    if program("apt-get").is_err() || program("dpkg").is_err() {
        bail!("promtool is not installed\n  macOS: brew install prometheus");
    }
    println!("getting promtool from the package {PACKAGE}");
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let download = || {
        execute(
            Command::new("apt-get")
                // Its own account may not write here; that would be a warning.
                .args(["-qq", "-o", "APT::Sandbox::User=root"])
                .args(["download", PACKAGE])
                .current_dir(folder),
        )
    };
    if let Err(error) = download() {
        // The lists of packages are missing or old, and only root may get them.
        if !rustix::process::geteuid().is_root() {
            let advice = "try again after `sudo apt-get update`, or install promtool";
            return Err(error.context(advice));
        }
        execute(Command::new("apt-get").args(["-qq", "update"]))?;
        download()?;
    }
    let package = downloaded(folder)?;
    execute(
        Command::new("dpkg")
            .arg("--extract")
            .arg(&package)
            .arg(folder),
    )?;
    fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))
}

fn downloaded(folder: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries
        .into_iter()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get left no package in {}", folder.display()))
}

fn execute(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}
