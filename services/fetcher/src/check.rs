//! `check`: the records of objects are parsed and validated, and nothing is written.

use std::{collections::BTreeMap, fmt};

use anyhow::Context;
use chrono::{DateTime, Utc};
use jetline_core::{ObjectId, Position};
use jetline_datasets::{
    Dataset, Datasets, Origin, Rejection, UnknownField, UnknownFieldPolicy, UnknownFields,
};
use jetline_formats::{Parser, oversized_record, records};
use jetline_source::{Location, Skipped};
use serde::{Serialize, Serializer};

use crate::{
    FetcherSettings, Sources,
    error::{ReadError, with_causes},
    offline::{Chunks, too_long},
    report::write_skipped,
    sources::Found,
    terminal::{Escaped, escaped_file_name},
};

/// How many paths of unknown fields are shown.
const SHOWN_UNKNOWN: usize = 20;

/// What is checked.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckSettings {
    /// The objects, as in SOURCE; without any, only the declarations are checked
    #[arg(value_name = "[DATASET=]FILE")]
    pub files: Vec<Location>,

    /// How many rejected records of each object are shown
    #[arg(long, default_value = "5")]
    pub show: usize,
}

/// What was found.
#[derive(Serialize)]
pub struct Checked {
    datasets: Vec<String>,
    objects: Vec<CheckedObject>,
    #[serde(serialize_with = "entries")]
    skipped: Skipped,
}

fn entries<S: Serializer>(skipped: &Skipped, serializer: S) -> Result<S::Ok, S::Error> {
    skipped.named().serialize(serializer)
}

#[derive(Serialize)]
struct CheckedObject {
    uri: String,
    dataset: String,
    format: Option<&'static str>,
    valid: u64,
    rejected: BTreeMap<&'static str, u64>,
    /// The first ones, by line.
    #[serde(serialize_with = "rejects")]
    first: Vec<(u32, Rejection)>,
    #[serde(serialize_with = "fields")]
    unknown: UnknownFields,
    #[serde(skip)]
    policy: UnknownFieldPolicy,
    error: Option<String>,
}

fn rejects<S: Serializer>(first: &[(u32, Rejection)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Rejected<'a> {
        line: u32,
        reason: &'a str,
        message: &'a str,
    }
    serializer.collect_seq(first.iter().map(|(line, rejection)| Rejected {
        line: *line,
        reason: rejection.reason.code(),
        message: &rejection.message,
    }))
}

fn fields<S: Serializer>(unknown: &UnknownFields, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(unknown.iter().map(|(path, field)| (path, field.records)))
}

/// Checks objects against the declarations of their datasets.
pub async fn check(
    args: &CheckSettings,
    settings: &FetcherSettings,
    datasets: &Datasets,
    sources: &Sources,
) -> anyhow::Result<Checked> {
    let mut checked = Checked {
        datasets: datasets.iter().map(|one| summary(one)).collect(),
        objects: Vec::new(),
        skipped: Skipped::default(),
    };
    if args.files.is_empty() {
        return Ok(checked);
    }
    settings.check_datasets(datasets)?;
    let (all, skipped) = sources.objects().await?;
    checked.skipped = skipped;
    for found in all {
        let name = settings.dataset_of(found.location, datasets);
        let dataset =
            name.and_then(|name| datasets.get(name)).context("an object has no dataset")?;
        checked.objects.push(CheckedObject::read(&found, dataset, args, settings).await);
    }
    Ok(checked)
}

fn summary(dataset: &Dataset) -> String {
    let version = dataset.version();
    let version = version.map_or(String::new(), |version| format!(", version {}", version.name));
    format!(
        "dataset {}: key {}{version}, {} columns",
        dataset.name,
        dataset.key().name,
        dataset.columns.len()
    )
}

impl Checked {
    /// Whether every record is valid, and every entry could be read.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.skipped.unreadable() == 0
            && self
                .objects
                .iter()
                .all(|object| object.rejected.is_empty() && object.error.is_none())
    }
}

impl CheckedObject {
    async fn read(
        found: &Found<'_>,
        dataset: &Dataset,
        args: &CheckSettings,
        settings: &FetcherSettings,
    ) -> Self {
        let mut checked = Self {
            uri: found.object.uri(),
            dataset: dataset.name.clone(),
            format: None,
            valid: 0,
            rejected: BTreeMap::new(),
            first: Vec::new(),
            unknown: UnknownFields::default(),
            policy: dataset.unknown,
            error: None,
        };
        let read = async {
            let mut chunks =
                Chunks::open(found.source, &found.object, settings, dataset.format).await?;
            let format = chunks.detected.format;
            checked.format = Some(format.name());
            let header = chunks.detected.header.clone();
            let mut parser = Parser::new(format, &header, dataset);
            let read = checked
                .parse(&mut chunks, &mut parser, found.object.last_modified, args.show)
                .await;
            checked.unknown = parser.into_unknown_fields();
            read
        };
        let read: Result<(), ReadError> = read.await;
        checked.error = read.err().map(|error| with_causes(&error));
        checked
    }

    async fn parse(
        &mut self,
        chunks: &mut Chunks,
        parser: &mut Parser<'_>,
        modified_at: DateTime<Utc>,
        show: usize,
    ) -> Result<(), ReadError> {
        let format = chunks.detected.format;
        while let Some(chunk) = chunks.next().await? {
            if chunk.oversized {
                if oversized_record(format, &chunk.body, chunk.start, chunk.end).is_some() {
                    self.reject(chunk.first_line, too_long(&chunk), show);
                }
                continue;
            }
            let records = records(format, &chunk.body, chunk.start, chunk.first_line);
            for record in records.filter(|record| !record.text.is_empty()) {
                let position = Position::new(ObjectId::default(), record.line);
                match parser.parse(record.text, Origin { position, modified_at }) {
                    Ok(_) => self.valid += 1,
                    Err(rejection) => self.reject(record.line, rejection, show),
                }
            }
        }
        Ok(())
    }

    fn reject(&mut self, line: u32, rejection: Rejection, show: usize) {
        *self.rejected.entry(rejection.reason.code()).or_default() += 1;
        if self.first.len() < show {
            self.first.push((line, rejection));
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.objects.is_empty() {
            return f.write_str(&self.datasets.join("\n"));
        }
        write_skipped(&self.skipped, f)?;
        for (number, object) in self.objects.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{object}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CheckedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected: u64 = self.rejected.values().sum();
        let format = self.format.unwrap_or("unknown format");
        write!(
            f,
            "{} ({}, {format}): {} valid, {rejected} rejected",
            escaped_file_name(&self.uri),
            self.dataset,
            self.valid
        )?;
        if !self.rejected.is_empty() {
            let reasons: Vec<String> =
                self.rejected.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            write!(f, "\n  rejected: {}", reasons.join(", "))?;
        }
        for (line, Rejection { reason, message }) in &self.first {
            write!(f, "\n  line {line}: {}: {}", reason.code(), Escaped(message))?;
        }
        self.write_unknown(f)?;
        match &self.error {
            Some(error) => write!(f, "\n  cannot be read to its end: {}", Escaped(error)),
            None => Ok(()),
        }
    }
}

impl CheckedObject {
    fn write_unknown(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unknown.is_empty() {
            return Ok(());
        }
        let policy = match self.policy {
            UnknownFieldPolicy::Keep => "kept",
            UnknownFieldPolicy::Ignore => "ignored",
            UnknownFieldPolicy::Reject => "rejected",
        };
        write!(f, "\n  fields that no column takes, which are {policy}:")?;
        for (path, UnknownField { records, first, .. }) in self.unknown.iter().take(SHOWN_UNKNOWN) {
            let path = if path.is_empty() { "others" } else { path };
            write!(f, "\n    {}: {records} records, first line {}", Escaped(path), first.line())?;
        }
        match self.unknown.len().saturating_sub(SHOWN_UNKNOWN) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}
