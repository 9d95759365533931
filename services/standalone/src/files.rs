//! Files that are given as arguments, and their datasets.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use jetline_datasets::{Datasets, is_name};
use jetline_fetcher::{FetcherSettings, InferSettings, infer};
use jetline_runtime::output;
use jetline_source::Location;
use jetline_store::{Database, DeclarationFile};

use crate::{cli::Cli, parts};

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
        let which = InferSettings::of(files);
        let (settings, sources) = parts::sources_of(cli, &which.files).await?;
        let text = infer(&which, &settings, &sources).await.with_context(|| {
            format!("cannot propose a declaration of {name}: use `jetline infer`, which has more options")
        })?;
        proposed.push(DeclarationFile::new(name, &format!("{name}.toml"), &text)?);
    }
    database.declare(&proposed).await?;
    for file in proposed {
        let name = &file.dataset.name;
        output::print(format!("The dataset {name} is declared as `jetline infer` proposes it."))?;
    }
    Ok(())
}

/// Fails if a file would be read as the dataset that is compiled in, only because there is no other.
pub(crate) fn check(
    files: &[Location],
    settings: &FetcherSettings,
    declared: &[DeclarationFile],
    datasets: &Datasets,
) -> anyhow::Result<()> {
    let built_in = declared.iter().filter(|file| file.equals_built_in());
    let built_in: Vec<&str> = built_in.map(|file| &*file.dataset.name).collect();
    let has_other = datasets.iter().any(|dataset| !built_in.contains(&&*dataset.name));
    if settings.dataset.is_some() || has_other {
        return Ok(());
    }
    for file in files.iter().filter(|file| file.dataset.is_none()) {
        let is_declared = file.stem().is_some_and(|stem| datasets.get(stem).is_some());
        ensure!(is_declared, undeclared(file));
    }
    Ok(())
}

fn undeclared(file: &Location) -> String {
    let built_in = format!("; products={file} reads it as the dataset that is compiled in");
    let Some(name) = file.stem().filter(|stem| is_name(stem)) else {
        let declare = declare(file, "NAME");
        return format!(
            "{file}: it is not called like a dataset: {declare}, and load NAME={file}{built_in}"
        );
    };
    format!("{file}: the dataset {name} is not declared: {}{built_in}", declare(file, name))
}

fn declare(file: &Location, name: &str) -> String {
    format!(
        "write datasets/{name}.toml, or let \"jetline infer {file} > datasets/{name}.toml\" propose one; --infer does that for a first look"
    )
}
