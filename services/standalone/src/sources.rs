//! What is read: the sources of the settings and of declarations, or files.

use std::path::Path;

use anyhow::bail;
use jetline_fetcher::{FetcherSettings, Sources};
use jetline_runtime::settings::Invalid;
use jetline_source::{Location, Locations, OwnDatabase};
use jetline_store::{Catalog, Database, catalog::objects::Filter};

use crate::cli::{Cli, SAMPLES};

/// The sources: those of the settings, or that are declared, or the default; with settings to read them. There are none if the
/// default does not exist, and what was loaded before is to be served.
pub(crate) async fn sources(
    cli: &Cli,
    database: &Database,
) -> anyhow::Result<(FetcherSettings, Sources)> {
    let mut settings = cli.fetcher.clone();
    if cli.has_default_source {
        settings.source.clear();
        settings = settings.with_declared_sources(&database.datasets().await?)?;
        if settings.source.is_empty() && Path::new(SAMPLES).exists() {
            settings.source.clone_from(&cli.fetcher.source);
        } else if settings.source.is_empty()
            && !cli.takes_records()
            && (cli.exit || !is_used(database).await?)
        {
            bail!(Invalid::new(format!(
                "there is nothing to load: give files, as in `jetline orders.jsonl`, or SOURCE; the default {SAMPLES} does not \
                 exist"
            )));
        }
    }
    Ok((settings.clone(), open(cli, &settings).await?))
}

/// Whether there are objects in the ledger.
async fn is_used(database: &Database) -> anyhow::Result<bool> {
    let objects = Catalog::new(database).objects(&Filter::default(), None, 1).await?;
    Ok(!objects.is_empty())
}

/// These sources instead of those of the settings, with settings to read them once.
pub(crate) async fn sources_of(
    cli: &Cli,
    files: &[Location],
) -> anyhow::Result<(FetcherSettings, Sources)> {
    let source = files.iter().cloned().map(Locations::from).collect();
    let settings = FetcherSettings { source, watch: None, ..cli.fetcher.clone() };
    let sources = open(cli, &settings).await?;
    Ok((settings, sources))
}

/// Opens sources, without the files of the database.
async fn open(cli: &Cli, settings: &FetcherSettings) -> anyhow::Result<Sources> {
    let own = OwnDatabase::new(cli.database.file());
    Sources::open(settings, &cli.intake_store, &cli.s3, &cli.startup, &own).await
}
