//! Files that are given as arguments, and their datasets.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail};
use jetline_datasets::{Datasets, is_name};
use jetline_fetcher::{FetcherSettings, InferSettings, infer};
use jetline_runtime::{output, settings::Invalid};
use jetline_source::Location;
use jetline_store::{Database, DeclarationFile};

use crate::{
    cli::{Cli, DECLARATIONS},
    sources::sources_of,
};

/// Declares the datasets of files that are not declared, as their records propose.
pub(crate) async fn declare_missing(cli: &Cli, database: &Database) -> anyhow::Result<()> {
    let datasets = database.datasets().await?;
    let mut missing: BTreeMap<&str, Vec<Location>> = BTreeMap::new();
    for file in &cli.files {
        let given = file.dataset.as_deref().or(cli.fetcher.dataset.as_deref());
        let name = given.or_else(|| file.stem()).filter(|name| is_name(name));
        if let Some(name) = name.filter(|name| datasets.get(name).is_none()) {
            missing.entry(name).or_default().push(file.clone());
        }
    }
    let mut proposed = Vec::new();
    for (name, files) in missing {
        let args = InferSettings::of(files);
        let (settings, sources) = sources_of(cli, &args.files).await?;
        let inferred = infer(&args, &settings, &sources).await.with_context(|| {
            format!("cannot propose a declaration of {name}: write {DECLARATIONS}/{name}.toml, for example by `jetline infer`")
        })?;
        proposed.push(DeclarationFile::new(name, &format!("{name}.toml"), &inferred.declaration)?);
    }
    database.declare(&proposed).await?;
    for file in proposed {
        let name = &file.dataset.name;
        output::print_note(format!(
            "The dataset {name} is declared as `jetline infer` proposes it."
        ))?;
    }
    Ok(())
}

/// Fails if a file names no dataset and none is declared that is called like it: an only one is not assumed.
pub(crate) fn check(
    files: &[Location],
    settings: &FetcherSettings,
    datasets: &Datasets,
) -> anyhow::Result<()> {
    let mut unnamed = files.iter().filter(|file| file.dataset.is_none());
    let is_declared =
        |file: &Location| file.stem().is_some_and(|stem| datasets.get(stem).is_some());
    match unnamed.find(|file| settings.dataset.is_none() && !is_declared(file)) {
        Some(file) if file.is_missing() => bail!("{file}: there is no such file or directory"),
        Some(file) => bail!(Invalid::new(undeclared(file, datasets))),
        None => Ok(()),
    }
}

fn undeclared(file: &Location, datasets: &Datasets) -> String {
    let there_are = datasets.names();
    let stem = file.stem().unwrap_or_default();
    if !is_name(stem) {
        let name = if stem.is_empty() { "NAME".to_owned() } else { similar_name(stem) };
        return format!(
            "{file}: it is not called like a dataset, whose name has letters, digits and _, at most 63, and no digit first: name its \
             dataset, as in {name}={file}; there are: {there_are}"
        );
    }
    let mkdir = if Path::new(DECLARATIONS).is_dir() { "" } else { "mkdir datasets && " };
    format!(
        "{file}: the dataset {stem} is not declared: write {DECLARATIONS}/{stem}.toml, or let \"{mkdir}jetline infer {file} > \
         {DECLARATIONS}/{stem}.toml\" propose one; --infer does that for a first look. To read it as another dataset, name it, as in \
         NAME={file}; there are: {there_are}"
    )
}

/// A name of a dataset like that of a file.
fn similar_name(stem: &str) -> String {
    let letters = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    let name: String = letters.collect();
    if is_name(&name) { name } else { "NAME".to_owned() }
}
