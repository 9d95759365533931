//! `cargo xtask dist`: what a release consists of.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use jetline_testkit::programs::{PROGRAMS, cargo, target_directory};
use serde::Deserialize;

use crate::command::{output, succeed};

/// What makes the Debian package; it is installed into the target directory.
const CARGO_DEB: &str = "cargo-deb@3.8.0";

/// The names that licences have in packages.
const LICENCES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// Make archives of the programs, with completions, manual pages and licences, a Debian package, and their checksums.
///
/// Neither the directory nor the time of the build is in them.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Without the Debian package, for which cargo-deb is compiled.
    #[arg(long)]
    no_debian: bool,
}

/// Where everything is made.
struct Dist {
    /// The directory of the repository.
    root: PathBuf,
    /// The target directory of the programs, below which the rest is.
    target: PathBuf,
    /// What the archive has.
    stage: PathBuf,
    /// The time of the last commit, which all files get.
    epoch: String,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = env::current_dir()?;
    let target = root.join("target/dist");
    let dist = Dist {
        stage: target.join("stage"),
        epoch: output(Command::new("git").args(["log", "-1", "--format=%ct"]))?,
        root,
        target,
    };
    dist.build()?;
    dist.stage()?;
    let mut files = vec![dist.archive()?];
    if !arguments.no_debian {
        files.push(dist.debian()?);
    }
    let names: Vec<&str> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    let sums = output(Command::new("sha256sum").args(names).current_dir(&dist.target))?;
    fs::write(dist.target.join("SHA256SUMS"), format!("{sums}\n"))?;
    println!("{sums}\nin {}", dist.target.display());
    Ok(())
}

impl Dist {
    /// Compiles the programs so that nothing in them depends on this machine's directories.
    fn build(&self) -> anyhow::Result<()> {
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
        let cargo_home = cargo_home.context("there is no home directory")?;
        let mapped = [(&cargo_home, "/cargo"), (&self.root, "/jetline")];
        let prefixes = |flag: &str| {
            let flags = mapped.map(|(from, to)| format!("{flag}={}={to}", from.display()));
            flags.join(" ")
        };
        let mut build = cargo();
        build.args(["build", "--release", "--locked", "--bins"]);
        for program in PROGRAMS {
            build.args(["--package", program.name]);
        }
        build
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
            .env("RUSTFLAGS", prefixes("--remap-path-prefix"))
            .env("CFLAGS", prefixes("-ffile-prefix-map"))
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        succeed(&mut build)
    }

    /// Collects what the archive has.
    fn stage(&self) -> anyhow::Result<()> {
        if self.stage.exists() {
            fs::remove_dir_all(&self.stage)?;
        }
        let directory = |name: &str| {
            let directory = self.stage.join(name);
            fs::create_dir_all(&directory).map(|()| directory)
        };
        let (bin, man) = (directory("bin")?, directory("man")?);
        for program in PROGRAMS {
            let built = self.target.join("release").join(program.name);
            fs::copy(&built, bin.join(program.name))?;
            succeed(program_at(&built).arg("--manual-pages").arg(&man))?;
            for (shell, name) in [
                ("bash", program.name.to_owned()),
                ("zsh", format!("_{}", program.name)),
                ("fish", format!("{}.fish", program.name)),
            ] {
                let completions = output(program_at(&built).args(["--completions", shell]))?;
                let directory = directory(&format!("completions/{shell}"))?;
                fs::write(directory.join(name), completions + "\n")?;
            }
        }
        let samples = directory("samples")?;
        for sample in fs::read_dir(self.root.join("samples"))? {
            let sample = sample?;
            fs::copy(sample.path(), samples.join(sample.file_name()))?;
        }
        for file in ["CHANGELOG.md", "LICENSE", "README.md"] {
            fs::copy(self.root.join(file), self.stage.join(file))?;
        }
        fs::write(self.stage.join("THIRD-PARTY.txt"), third_party()?)?;
        Ok(())
    }

    /// Packs it: in the order of names, with one time and owner.
    fn archive(&self) -> anyhow::Result<PathBuf> {
        let version = env!("CARGO_PKG_VERSION");
        let rustc = output(Command::new("rustc").arg("-vV"))?;
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
        let name = format!("jetline-{version}-{}", host.context("rustc names no host")?);
        let archive = self.target.join(format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--format=gnu", "--mode=u+rwX,go+rX,go-w", "--use-compress-program=gzip -9n"])
            .arg(format!("--mtime=@{}", self.epoch))
            .arg(format!("--transform=s,^\\.,{name},"))
            .arg("--directory")
            .arg(&self.stage)
            .arg("--file")
            .arg(&archive)
            .arg(".");
        succeed(&mut tar)?;
        Ok(archive)
    }

    /// Makes the Debian package, as `services/standalone/Cargo.toml` describes it.
    fn debian(&self) -> anyhow::Result<PathBuf> {
        let tools = target_directory()?.join("tools");
        let program = tools.join("bin/cargo-deb");
        let (_, version) = CARGO_DEB.split_once('@').context("no version is wanted")?;
        let has_it =
            output(Command::new(&program).arg("--version")).is_ok_and(|had| had.ends_with(version));
        if !has_it {
            let mut install = cargo();
            install.args(["install", "--locked", "--root"]).arg(&tools).arg(CARGO_DEB);
            succeed(&mut install)?;
        }
        let package = self.target.join("jetline.deb");
        let mut deb = Command::new(program);
        deb.args(["--no-build", "--no-strip", "--package", "jetline", "--output"])
            .arg(&package)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("SOURCE_DATE_EPOCH", &self.epoch);
        succeed(&mut deb)?;
        let named = output(
            Command::new("dpkg-deb")
                .arg("--show")
                .arg("--showformat=${Package}_${Version}_${Architecture}.deb")
                .arg(&package),
        )?;
        let named = self.target.join(named);
        fs::rename(package, &named)?;
        Ok(named)
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    source: Option<String>,
}

/// The licences of everything that is compiled into the programs or helps to.
fn third_party() -> anyhow::Result<String> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata)?;
    // Equal texts once, with the packages that have them.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut all = String::from("Jetline is made with these packages.\n\n");
    for package in metadata.packages.iter().filter(|package| package.source.is_some()) {
        let Package { name, version, license, manifest_path, .. } = package;
        writeln!(all, "{name} {version}: {}", license.as_deref().unwrap_or("see below"))?;
        let directory = manifest_path.parent().context("a manifest is in no directory")?;
        for file in fs::read_dir(directory)? {
            let file = file?;
            if is_licence(&file.file_name().to_string_lossy()) && file.file_type()?.is_file() {
                let text = String::from_utf8_lossy(&fs::read(file.path())?).into_owned();
                texts.entry(text).or_default().push(format!("{name} {version}"));
            }
        }
    }
    for (text, packages) in texts {
        write!(all, "\n{}\n{}:\n\n{text}", "-".repeat(80), packages.join(", "))?;
    }
    Ok(all)
}

fn is_licence(file: &str) -> bool {
    LICENCES.iter().any(|name| file.to_uppercase().starts_with(name))
}

/// A program without the settings of this environment.
fn program_at(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear();
    command
}
