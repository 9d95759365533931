//! The programs of the workspace, in the directory of these tests.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// A program of the workspace, with an empty environment.
pub(crate) fn program(name: &str) -> Command {
    let folder = FOLDER.get_or_init(build).as_ref();
    let file = folder.unwrap_or_else(|error| panic!("{error}")).join(name);
    assert!(
        file.is_file(),
        "{} is missing: `cargo build --workspace --bins` did not build it",
        file.display()
    );
    let mut command = Command::new(file);
    command.env_clear();
    command
}

/// Cargo builds the programs of a package for that package's own tests only: here they are built on first use, where
/// these tests were built.
fn build() -> Result<PathBuf, String> {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let target = folder.parent().unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--workspace", "--bins", "--quiet", "--target-dir"])
        .arg(target)
        .current_dir(workspace);
    // The variables that cargo sets for these tests would make build scripts run again.
    for (name, _) in env::vars_os() {
        let variable = name.to_string_lossy();
        if variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.output().unwrap();
    if built.status.success() {
        return Ok(folder.to_owned());
    }
    Err(format!("the programs cannot be built: {}", String::from_utf8_lossy(&built.stderr)))
}
