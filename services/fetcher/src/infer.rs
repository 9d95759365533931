//! `infer`: a declaration is proposed from the first records of objects.

use std::{fmt, num::NonZeroU64};

use anyhow::Context;
use jetline_datasets::{DeclaredFormat, Inference};
use jetline_formats::{Sampler, records};
use jetline_source::{Location, ObjectVersion, Source};
use serde::Serialize;

use crate::{
    FetcherSettings, Sources,
    error::with_causes,
    offline::{Chunks, too_long},
    sources::Found,
};

/// What a declaration is proposed from.
#[derive(Clone, Debug, clap::Args)]
pub struct InferSettings {
    /// The objects, as in SOURCE
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<Location>,

    /// The field of the key; without it, a field is chosen that every record has, each another value
    #[arg(long)]
    pub key: Option<String>,

    /// How many records of each object are read
    #[arg(long, default_value_t = DEFAULT_RECORDS)]
    pub records: NonZeroU64,
}

/// How many records of an object are read unless something else is asked for.
const DEFAULT_RECORDS: NonZeroU64 = NonZeroU64::new(10_000).unwrap();

impl InferSettings {
    /// A declaration of these files.
    #[must_use]
    pub fn of(files: Vec<Location>) -> Self {
        Self { files, key: None, records: DEFAULT_RECORDS }
    }
}

/// A declaration that is proposed.
#[derive(Serialize)]
pub struct Inferred {
    /// The declaration, as TOML.
    pub declaration: String,
    /// From how many records.
    records: u64,
}

impl fmt::Display for Inferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.declaration.trim_end())
    }
}

/// Proposes a declaration.
pub async fn infer(
    args: &InferSettings,
    settings: &FetcherSettings,
    sources: &Sources,
) -> anyhow::Result<Inferred> {
    let mut inference = Inference::default();
    let (found, skipped) = sources.objects().await?;
    for entry in skipped.named() {
        tracing::warn!(entry, "source entry skipped");
    }
    for Found { source, object, .. } in found {
        add(&mut inference, source, &object, args, settings)
            .await
            .with_context(|| format!("cannot read {}", object.uri()))?;
    }
    let declaration = inference.declaration(args.key.as_deref())?;
    let files: Vec<String> = args.files.iter().map(ToString::to_string).collect();
    let records = inference.records();
    let declaration = format!(
        "# Proposed from {records} records of {}. `jetline check` tells whether all records fit.\n{declaration}",
        files.join(", ")
    );
    Ok(Inferred { declaration, records })
}

/// Adds the first records of an object that are valid.
async fn add(
    inference: &mut Inference,
    source: &dyn Source,
    object: &ObjectVersion,
    args: &InferSettings,
    settings: &FetcherSettings,
) -> anyhow::Result<()> {
    let failed = |error| anyhow::Error::msg(with_causes(&error));
    let chunks = Chunks::open(source, object, settings, DeclaredFormat::Auto);
    let mut chunks = chunks.await.map_err(failed)?;
    let format = chunks.detected.format;
    let mut sampler = Sampler::new(format, &chunks.detected.header);
    let (mut read, before) = (0, inference.records());
    let mut first_error = None;
    'object: while let Some(chunk) = chunks.next().await.map_err(failed)? {
        if chunk.oversized {
            first_error.get_or_insert((chunk.first_line, too_long(&chunk)));
            continue;
        }
        let records = records(format, &chunk.body, chunk.start, chunk.first_line);
        for record in records.filter(|record| !record.text.is_empty()) {
            if let Err(rejection) = sampler.add(inference, record.text) {
                first_error.get_or_insert((record.line, rejection));
            }
            read += 1;
            if read == args.records.get() {
                break 'object;
            }
        }
    }
    match first_error {
        Some((line, rejection)) if inference.records() == before => {
            anyhow::bail!("no record is valid; first: line {line}: {rejection}")
        }
        _ => Ok(()),
    }
}
