//! `cargo xtask check-deploy`: what `deploy/` and the compose files name exists.
//!
//! Every variable that a container gets must be known to its program, and every metric that a rule or dashboard asks for
//! must be one that the programs register. promtool checks the rules themselves and runs the tests of the alerts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use jetline_testkit::{process::program, programs};
use serde_json::{Map, Value};
use walkdir::WalkDir;

use crate::{
    command::{output, succeed},
    install,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

pub(crate) fn run() -> anyhow::Result<()> {
    let root = Path::new(ROOT);
    promtool(&root.join("deploy/prometheus"))?;
    let programs = programs::build(false)?;
    let mut deployment = Deployment::default();
    for (file, text) in files(root, &["yaml", "yml"])? {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("cannot read {}", file.display()))?;
        for document in &documents {
            deployment.find(document, "");
        }
    }
    let mut problems = deployment.problems(|program| known(&programs.join(program)))?;
    problems.extend(unknown_metrics(root)?);
    ensure!(problems.is_empty(), "{}", problems.join("\n       "));
    println!("all variables and metrics are known");
    Ok(())
}

/// Checks the configuration with all the rules that it names, and runs the tests of the alerts.
fn promtool(folder: &Path) -> anyhow::Result<()> {
    install::missing(&[("promtool", "prometheus", "prometheus")])?;
    let promtool = program("promtool")?;
    for words in ["check config prometheus.yml", "test rules alerts_test.yml"] {
        succeed(Command::new(&promtool).args(words.split(' ')).current_dir(folder))?;
    }
    Ok(())
}

/// The files of compose and those in `deploy/` that end so, with their text.
fn files(root: &Path, endings: &[&str]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    let compose = WalkDir::new(root).max_depth(1).into_iter();
    for entry in compose.chain(WalkDir::new(root.join("deploy"))) {
        let path = entry?.into_path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| endings.contains(&ending)) {
            let text = read(&path)?;
            files.push((path, text));
        }
    }
    Ok(files)
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The variables that a program's `--help` names, as `[env: NAME=]` or `[env: NAME]`.
fn known(program: &Path) -> anyhow::Result<BTreeSet<String>> {
    let help = output(Command::new(program).arg("--help"))?;
    let names = help.split("[env:").skip(1);
    let names = names.filter_map(|rest| rest.trim_start().split(['=', ']']).next());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    ensure!(!names.is_empty(), "no variables in {help}");
    Ok(names)
}

/// What the files describe, wherever it stands in them: in patches of kustomizations too.
#[derive(Default)]
struct Deployment {
    /// Containers of Kubernetes and services of compose, by name.
    containers: BTreeMap<String, Container>,
    /// The variables of each `ConfigMap`.
    config_maps: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
struct Container {
    /// What it runs. A patch does not say it: it goes by the name.
    program: Option<String>,
    variables: BTreeSet<String>,
    /// The `ConfigMap`s that it gets whole.
    config_maps: BTreeSet<String>,
}

impl Deployment {
    /// `key` is what the value is called where it stands.
    fn find(&mut self, value: &Value, key: &str) {
        match value {
            Value::Object(object) => {
                self.add(object, key);
                object.iter().for_each(|(key, value)| self.find(value, key));
            }
            Value::Array(list) => list.iter().for_each(|value| self.find(value, key)),
            Value::String(text) if key == "patch" => {
                if let Ok(patch) = serde_saphyr::from_str(text) {
                    self.find(&patch, key);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, object: &Map<String, Value>, key: &str) {
        let name = object.get("name").and_then(Value::as_str);
        let name = name.unwrap_or(key).to_owned();
        if key == "configMapGenerator" {
            let literals = texts(object, "literals", "");
            let names = literals.filter_map(|literal| Some(literal.split_once('=')?.0.to_owned()));
            self.config_maps.entry(name).or_default().extend(names);
            return;
        }
        let container = self.containers.entry(name).or_default();
        container.program = texts(object, "command", "").next().or(container.program.take());
        container.config_maps.extend(texts(object, "envFrom", "/configMapRef/name"));
        let compose = object.get("environment").and_then(Value::as_object);
        container.variables.extend(compose.into_iter().flat_map(Map::keys).cloned());
        container.variables.extend(texts(object, "env", "/name"));
    }

    /// `known` says which variables a program knows.
    fn problems(
        &self,
        known: impl Fn(&str) -> anyhow::Result<BTreeSet<String>>,
    ) -> anyhow::Result<Vec<String>> {
        let mut problems = Vec::new();
        for (name, container) in &self.containers {
            let ours = container.program.as_ref().filter(|program| program.starts_with("jetline"));
            let Some(program) = ours else {
                continue;
            };
            let known = known(program)?;
            let mut variables: BTreeSet<&String> = container.variables.iter().collect();
            for map in &container.config_maps {
                match self.config_maps.get(map) {
                    Some(literals) => variables.extend(literals),
                    None => problems.push(format!("{name}: there is no ConfigMap {map}")),
                }
            }
            for variable in variables {
                // AWS's own are its library's, with which fetchers and apis use S3.
                let is_aws = ["jetline-api", "jetline-fetcher"].contains(&&**program)
                    && variable.starts_with("AWS_");
                if !is_aws && !known.contains(variable) {
                    problems.push(format!("{name}: {program} knows no {variable}"));
                }
            }
        }
        Ok(problems)
    }
}

/// A list of texts, or what is found in each element of a list.
fn texts(object: &Map<String, Value>, list: &str, pointer: &str) -> impl Iterator<Item = String> {
    let list = object.get(list).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(move |one| Some(one.pointer(pointer)?.as_str()?.to_owned()))
}

/// The metrics that rules and dashboards ask for and no program registers.
fn unknown_metrics(root: &Path) -> anyhow::Result<Vec<String>> {
    let source = read(&root.join("shared/runtime/src/metrics.rs"))?;
    let recording = read(&root.join("deploy/prometheus/recording.yml"))?;
    let literals = source.split('"');
    let mut known: BTreeSet<&str> = literals.filter(|text| text.starts_with("jetline_")).collect();
    let rules = recording.lines().map(str::trim);
    known.extend(rules.filter_map(|line| line.strip_prefix("- record: ")));
    let mut problems = Vec::new();
    for (file, text) in files(root, &["yml", "json"])? {
        let names: BTreeSet<&str> = metrics(&text).collect();
        for name in names.iter().filter(|name| !is_known(&known, name)) {
            let file = file.display();
            problems.push(format!("{file}: there is no metric {name}"));
        }
    }
    Ok(problems)
}

/// A histogram is exported as buckets, a sum and a count.
fn is_known(known: &BTreeSet<&str>, name: &str) -> bool {
    let mut suffixes = ["", "_bucket", "_sum", "_count"].iter();
    suffixes.any(|suffix| name.strip_suffix(suffix).is_some_and(|name| known.contains(name)))
}

/// Names of series in a text: `jetline_…` and `jetline:…`. In JSON, a line of a query ends in `\n`.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split("\\n")
        .flat_map(move |line| line.split(move |c| !is_part(c)))
        .map(|word| word.trim_end_matches(':'))
        .filter(|word| word.starts_with("jetline_") || word.starts_with("jetline:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = "
        x-process: &process { LOG: '' }
        services:
          writer:
            command: [jetline-writer]
            environment: { <<: [*process], WRITR: 2 }
          redis:
            command: [redis-server]
            environment: { OTHER: 1 }";

    const KUSTOMIZATION: &str = "
        configMapGenerator:
          - { name: queue, literals: [NATS=a, 'LOG=b'] }
        patches:
          - patch: |
              spec:
                containers:
                  - name: writer
                    envFrom: [{ configMapRef: { name: queue } }, { configMapRef: { name: gone } }]
                    env: [{ name: LOGG, value: x }]";

    #[test]
    fn variables_that_programs_do_not_know_are_found_wherever_they_stand() {
        let mut deployment = Deployment::default();
        for yaml in [KUSTOMIZATION, COMPOSE] {
            deployment.find(&serde_saphyr::from_str(yaml).unwrap(), "");
        }
        let problems = deployment.problems(|_| Ok(["LOG".to_owned()].into()));
        assert_eq!(
            problems.unwrap(),
            [
                "writer: there is no ConfigMap gone",
                "writer: jetline-writer knows no LOGG",
                "writer: jetline-writer knows no NATS",
                "writer: jetline-writer knows no WRITR",
            ]
        );
    }

    #[test]
    fn metrics_of_this_repository_exist_and_others_do_not() {
        assert_eq!(unknown_metrics(Path::new(ROOT)).unwrap(), [""; 0]);
        let known = ["jetline_lines_total", "jetline_seconds", "jetline:queue:max"].into();
        let text =
            r"(\njetline_seconds_bucket) jetline:queue:max, jetline:queue:min, jetline_line_total";
        let unknown: Vec<&str> = metrics(text).filter(|name| !is_known(&known, name)).collect();
        assert_eq!(unknown, ["jetline:queue:min", "jetline_line_total"]);
    }
}
