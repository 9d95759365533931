//! `cargo xtask check-deploy`: whether what `deploy/kubernetes` holds would be accepted, and fits the programs.
//!
//! Every kustomization is rendered as `kubectl` does it and every object held against the published schema of its kind.
//! What a schema cannot know is checked by the rules here. No cluster is needed, and none is asked.

mod facts;
mod kustomizations;
mod objects;
mod rules;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

use crate::{
    cargo::target_directory,
    deploy::{facts::Facts, kustomizations::Kustomization, objects::Objects, tools::Tools},
};

/// Check the Kubernetes manifests.
///
/// Renders all of deploy/kubernetes, validates it strictly against the schemas of Kubernetes and KEDA, and checks rules
/// of our own. Gets kubectl and the schemas where they are missing: as Python packages, into target/.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What users make the Secrets after. No kustomization holds it.
const SECRETS: &str = "secret.example.yaml";

pub(crate) fn run(_: &Arguments) -> anyhow::Result<()> {
    let root = Path::new(ROOT)
        .canonicalize()
        .context("cannot find the workspace")?;
    let manifests = root.join("deploy/kubernetes");
    let folder = target_directory()?.join("check-deploy");
    let tools = Tools::get(&folder)?;
    let scratch = tempfile::tempdir_in(&folder).context("cannot write into target/")?;

    let kustomizations = kustomizations::find(&manifests, scratch.path())?;
    let mut files = vec![manifests.join(SECRETS)];
    for (number, kustomization) in kustomizations.iter().enumerate() {
        files.push(render(
            &tools,
            kustomization,
            scratch.path().join(format!("{number}.yaml")),
        )?);
    }
    let mut validated = tools.validate(&files)?.into_iter();
    ensure!(validated.len() == files.len(), "validate.py left files out");

    let (secrets, found) = validated.next().unwrap_or_default();
    let mut problems: Vec<_> = in_place(SECRETS, found).collect();
    let facts = Facts::read(&root, &Objects::new(secrets))?;
    let mut count = 0;
    for (kustomization, (objects, found)) in kustomizations.iter().zip(validated) {
        let objects = Objects::new(objects);
        count += objects.all().len();
        let found = [found, of_ours(kustomization, &objects, &facts)].concat();
        problems.extend(in_place(&kustomization.name, found));
    }
    if problems.is_empty() {
        println!(
            "{count} objects in {} renderings are valid",
            kustomizations.len()
        );
        return Ok(());
    }
    bail!("{}", problems.join("\n       "))
}

/// Writes the objects of a kustomization into a file.
fn render(tools: &Tools, kustomization: &Kustomization, file: PathBuf) -> anyhow::Result<PathBuf> {
    let yaml = tools
        .render(&kustomization.folder)
        .with_context(|| format!("cannot render {}", kustomization.name))?;
    fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// What breaks rules of ours.
fn of_ours(kustomization: &Kustomization, objects: &Objects, facts: &Facts) -> Vec<String> {
    let mut problems = rules::problems(objects, facts);
    if kustomization.is_complete() {
        problems.extend(rules::missing_source(objects));
    }
    problems
}

/// Says of each problem where it was found.
fn in_place(place: &str, problems: Vec<String>) -> impl Iterator<Item = String> {
    problems
        .into_iter()
        .map(move |problem| format!("{place}: {problem}"))
}
