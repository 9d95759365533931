//! Gets the servers that the tests need, from Debian's packages where that is possible.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use jetline_testkit::process::program;

/// A program, and the packages that bring it: Debian's and Homebrew's.
const NEEDED: &[(&str, &str, &str)] = &[
    ("nats-server", "nats-server", "nats-server"),
    ("redis-server", "redis-server", "redis"),
    ("initdb", "postgresql", "postgresql"),
    ("postgres", "postgresql", "postgresql"),
    ("psql", "postgresql", "postgresql"),
    ("pgbouncer", "pgbouncer", "pgbouncer"),
];

/// Installs what is missing, or says what to install.
pub(crate) fn missing_servers() -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = packages(&missing, |(_, debian, _)| debian);
    if !can_install() {
        bail!(
            "not installed: {}\n  Debian, Ubuntu: sudo apt-get install --no-install-recommends {}\n  \
             macOS: brew install {}",
            programs(&missing),
            packages.join(" "),
            self::packages(&missing, |(_, _, brew)| brew).join(" "),
        );
    }
    install(&packages)?;
    let missing = self::missing();
    ensure!(
        missing.is_empty(),
        "installed {}, but still not found: {}",
        packages.join(", "),
        programs(&missing)
    );
    Ok(())
}

type Needed = (&'static str, &'static str, &'static str);

fn missing() -> Vec<Needed> {
    let absent = |(name, ..): &&Needed| program(name).is_err();
    NEEDED.iter().filter(absent).copied().collect()
}

fn packages(missing: &[Needed], name: fn(Needed) -> &'static str) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing.iter().copied().map(name).collect();
    packages.dedup();
    packages
}

fn programs(missing: &[Needed]) -> String {
    packages(missing, |(program, ..)| program).join(", ")
}

/// Whether Debian's packages can be installed here.
pub(crate) fn can_install() -> bool {
    rustix::process::geteuid().is_root()
        && Path::new("/etc/debian_version").exists()
        && program("apt-get").is_ok()
}

/// Whether the packages start servers of their own: not with this file.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether the packages create a cluster: not with this file.
const CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs packages of Debian; none of them starts a server.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    println!("installing {}", packages.join(", "));
    let no_services = TemporaryFile::create(POLICY, "#!/bin/sh\nexit 101\n", 0o755)?;
    let no_cluster = TemporaryFile::create(CLUSTER, "create_main_cluster = false\n", 0o644)?;
    apt_get(&["update"])?;
    let options = ["install", "-y", "--no-install-recommends"];
    apt_get(&[&options, packages].concat())?;
    drop((no_services, no_cluster));
    // Where our file stood, the package has put its own beside it. Without one there, both are missing.
    if !Path::new(CLUSTER).exists() {
        let _ = fs::rename(format!("{CLUSTER}.ucf-dist"), CLUSTER);
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot run apt-get")?;
    ensure!(
        status.success(),
        "apt-get {} ended with {status}",
        arguments.join(" ")
    );
    Ok(())
}

/// A file that is there for a while, unless one was there before: that one stays as it is.
struct TemporaryFile(Option<PathBuf>);

impl TemporaryFile {
    fn create(path: &str, text: &str, mode: u32) -> anyhow::Result<Self> {
        let path = PathBuf::from(path);
        let cannot = || format!("cannot write {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(cannot)?;
        }
        match fs::File::create_new(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Self(None)),
            Err(error) => return Err(error).with_context(cannot),
        }
        let file = Self(Some(path.clone()));
        fs::write(&path, text).with_context(cannot)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).with_context(cannot)?;
        Ok(file)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_named_once() {
        assert_eq!(
            packages(NEEDED, |(_, debian, _)| debian),
            ["nats-server", "redis-server", "postgresql", "pgbouncer"]
        );
    }

    #[test]
    fn file_that_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        fs::write(&theirs, "theirs").unwrap();
        let files = [&ours, &theirs]
            .map(|path| TemporaryFile::create(path.to_str().unwrap(), "ours", 0o755).unwrap());
        assert_eq!(fs::read_to_string(&ours).unwrap(), "ours");
        drop(files);
        assert!(!ours.exists());
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
    }
}
