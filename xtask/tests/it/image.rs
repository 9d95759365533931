//! The image's layer of dependencies is built from a context that is cut down twice: by `.dockerignore`, and by the
//! Dockerfile's stage `manifests`. Whatever a manifest names has to survive both, or the image cannot be built.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use globset::{GlobBuilder, GlobMatcher};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn every_target_survives_the_cut_of_the_dependency_layer() {
    let context = tempfile::tempdir().unwrap();
    let ignored = fs::read_to_string(format!("{ROOT}/.dockerignore")).unwrap();
    copy(Path::new(""), context.path(), &Ignored::parse(&ignored));
    let dockerfile = fs::read_to_string(format!("{ROOT}/Dockerfile")).unwrap();
    done(Command::new("sh").args(["-ec", &cut(&dockerfile)]).current_dir(context.path()));
    assert!(!context.path().join("samples").exists(), "the Dockerfile's commands were not run");
    // Of the commands that build nothing the one that reads a manifest as a build does.
    done(
        Command::new(env!("CARGO"))
            .args(["fetch", "--locked", "--offline", "--target", &host()])
            .current_dir(context.path()),
    );
}

/// What is compiled for: only that platform's crates were downloaded.
fn host() -> String {
    let version = done(Command::new("rustc").arg("-vV"));
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// Copies what the build context holds of a folder.
fn copy(folder: &Path, to: &Path, ignored: &Ignored) {
    for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let place = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            // Ignored, too, and large.
            if !place.ends_with("target") && !place.ends_with(".git") {
                copy(&place, to, ignored);
            }
        } else if !ignored.holds(&place) {
            let to = to.join(&place);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The commands of the stage `manifests`.
fn cut(dockerfile: &str) -> String {
    let stage = dockerfile
        .split("\nFROM ")
        .find(|stage| stage.lines().next().unwrap().ends_with(" AS manifests"))
        .expect("a stage manifests");
    let joined = stage.replace("\\\n", " ");
    let commands: Vec<&str> = joined.lines().filter_map(|line| line.strip_prefix("RUN ")).collect();
    commands.join("\n")
}

/// The patterns of a `.dockerignore`; `!` takes back what an earlier one ignores, and the last that matches counts.
struct Ignored(Vec<(bool, GlobMatcher)>);

impl Ignored {
    fn parse(text: &str) -> Self {
        let patterns =
            text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
                let taken_back = line.strip_prefix('!');
                let glob = GlobBuilder::new(taken_back.unwrap_or(line))
                    .literal_separator(true)
                    .build()
                    .unwrap();
                (taken_back.is_none(), glob.compile_matcher())
            });
        Self(patterns.collect())
    }

    /// A pattern that matches a folder matches everything in it.
    fn holds(&self, file: &Path) -> bool {
        let matching =
            |(_, glob): &&(bool, GlobMatcher)| file.ancestors().any(|place| glob.is_match(place));
        self.0.iter().rev().find(matching).is_some_and(|(ignored, _)| *ignored)
    }
}

#[test]
fn last_pattern_that_matches_counts() {
    let ignored = Ignored::parse("*\n!shared\n**/tests/it/*\n!**/tests/it/main.rs\n");
    for (file, expected) in [
        ("README.md", true),
        ("shared/store/src/lib.rs", false),
        ("shared/store/tests/it/story.rs", true),
        ("shared/store/tests/it/main.rs", false),
    ] {
        assert_eq!(ignored.holds(Path::new(file)), expected, "{file}");
    }
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
