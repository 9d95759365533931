//! The settings of the fetcher.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use anyhow::Context;
use jetline_datasets::Datasets;
use jetline_formats::split::Limits;
use jetline_runtime::settings::{self, Invalid};
use jetline_source::{IntakeStore, Location, Locations, ObjectVersion};
use jetline_store::objects::{NewObject, RejectLimit};

use crate::retention::Keep;

/// Why a file of a dataset with redacted columns is skipped.
const CLEAR_VALUES: &str = "its dataset has redacted columns: post its records to the api, which redacts them, or see REDACT_FILES";

/// Why a file is skipped whose dataset was declared when the fetcher started.
const DROPPED: &str = "its dataset was dropped";

/// What a fetcher reads, and its limits.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Fetcher")]
pub struct FetcherSettings {
    /// Where objects come from: a directory, a file, or `s3://bucket/prefix`, optionally with wildcards, and optionally
    /// preceded by the dataset, as in `products=s3://bucket/products/*.jsonl.gz`; several are separated by commas. A
    /// backslash escapes the wildcard or comma after it. Without any, those of the declarations
    #[arg(long, env, value_name = "[DATASET=]LOCATION")]
    pub source: Vec<Locations>,

    /// The dataset of sources that do not name one; without it, the one that is called like their file or directory, or
    /// the only one that is declared
    #[arg(long, env)]
    pub dataset: Option<String>,

    /// List the sources again at this interval; without it, exit when every object has ended
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration)]
    pub watch: Option<Duration>,

    /// In which order objects are numbered that one listing finds: a line of a later object wins
    #[arg(long, env, value_enum, default_value = "time")]
    pub order_by: OrderBy,

    /// How many bytes of whole lines a chunk has at most
    #[arg(long, env, value_name = "BYTES", value_parser = settings::bytes, default_value = "256KiB")]
    pub chunk_bytes: u64,

    /// How many lines a chunk has at most
    #[arg(long, env, value_name = "LINES", default_value = "4096")]
    pub chunk_lines: NonZeroU32,

    /// The maximum length of a line, in bytes; a longer one is rejected
    #[arg(long, env, value_name = "BYTES", value_parser = settings::bytes, default_value = "512KiB")]
    pub max_line_bytes: u64,

    /// How many objects are read at the same time
    #[arg(long, env, default_value = "2")]
    pub fetch_objects: NonZeroUsize,

    /// How many small objects, together up to 4 MiB, are leased at once at most
    #[arg(long, env, default_value = "64")]
    pub fetch_batch: NonZeroUsize,

    /// How many chunks of an object, or of objects that are leased at once, may be unacknowledged
    #[arg(long, env, default_value = "32")]
    pub publish_window: NonZeroUsize,

    /// How long an object stays leased by a fetcher that has died, before another one reads it
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "30s")]
    pub lease: Duration,

    /// What is missing of an object is read again when for so long nothing of it was committed, and the queue holds nothing
    /// of it
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "10s")]
    pub reconcile_after: Duration,

    /// The largest window of Zstandard data, which is held in memory; up to 2GiB, the largest that zstd writes
    #[arg(long, env, value_name = "SIZE", value_parser = settings::bytes, default_value = "128MiB")]
    pub zstd_window: u64,

    /// Also load files of datasets with redacted columns. Their clear values are in the files and in the queue; the writers
    /// redact them
    #[arg(long, env)]
    pub redact_files: bool,

    /// The reject limit: with more rejected lines an object fails and is read no further. A share such as `1%` is judged when
    /// an object is complete
    #[arg(long, env, value_name = "LINES|SHARE")]
    pub max_rejects: Option<RejectLimit>,

    /// How long the rejected lines of an object are kept after it has ended; they stay counted. Or `forever`
    #[arg(long, env, value_name = "DURATION", default_value = "30d")]
    pub keep_rejects: Keep,

    /// How long the entries of objects that no source has any more are kept in the ledger after they have ended
    #[arg(long, env, value_name = "DURATION", default_value = "forever")]
    pub keep_objects: Keep,
}

/// The order of objects that one listing finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OrderBy {
    /// When they were last modified, then by their keys. S3 has the start of a multipart upload for it.
    Time,
    /// By their keys, for producers that put the date there.
    Key,
}

impl OrderBy {
    /// Returns the bytes by which versions are compared.
    pub(crate) fn order_key(self) -> fn(&ObjectVersion) -> Vec<u8> {
        match self {
            Self::Time => |version| [&time(version), version.key.as_bytes()].concat(),
            Self::Key => |version| {
                // Two zeros end the key: what begins with another key is behind it.
                let key = version.key.replace('\0', "\0\u{1}");
                [key.as_bytes(), &[0, 0], &time(version)].concat()
            },
        }
    }
}

/// The time of a version: these bytes are compared as times are.
fn time(version: &ObjectVersion) -> [u8; 12] {
    let time = version.last_modified;
    let seconds = (time.timestamp() ^ i64::MIN).to_be_bytes();
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&seconds);
    bytes[8..].copy_from_slice(&time.timestamp_subsec_nanos().to_be_bytes());
    bytes
}

impl FetcherSettings {
    /// With the sources of the declarations where none is given.
    pub fn with_declared_sources(&self, datasets: &Datasets) -> anyhow::Result<Self> {
        let mut settings = self.clone();
        let declared = datasets.iter().filter(|_| self.source.is_empty());
        for (dataset, text) in declared.filter_map(|one| Some((one, one.source.as_deref()?))) {
            let name = &dataset.name;
            let declared = || format!("the declaration of {name} has the source {text}");
            let locations: Locations = text.parse().with_context(declared)?;
            for location in locations.all() {
                let mut location = location.clone();
                let of = location.dataset.get_or_insert_with(|| name.clone());
                anyhow::ensure!(
                    of == name,
                    Invalid::new(format!("{}: it names another dataset", declared()))
                );
                settings.source.push(location.into());
            }
        }
        Ok(settings)
    }

    /// Every location, in the order in which they were given.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        self.source.iter().flat_map(Locations::all)
    }

    /// The name of a location's dataset: the one that it names, DATASET, the one that is called like its file or directory,
    /// or the only one.
    pub(crate) fn dataset_of<'a>(
        &'a self,
        location: &'a Location,
        datasets: &'a Datasets,
    ) -> Option<&'a str> {
        let given = location.dataset.as_deref().or(self.dataset.as_deref());
        let of_file = || location.stem().filter(|stem| datasets.get(stem).is_some());
        let only = || {
            let mut all = datasets.iter();
            all.next().filter(|_| all.next().is_none()).map(|only| &*only.name)
        };
        given.or_else(of_file).or_else(only)
    }

    /// A listed object as it is registered.
    pub(crate) fn new_object(
        &self,
        version: ObjectVersion,
        location: &Location,
        datasets: &Datasets,
        is_posted: bool,
        incarnation: String,
    ) -> NewObject {
        NewObject {
            incarnation,
            dataset: self.dataset_of(location, datasets).unwrap_or_default().to_owned(),
            is_posted,
            version,
            chunk_bytes: self.chunk_bytes,
            chunk_lines: self.chunk_lines,
            max_line_bytes: self.max_line_bytes,
        }
    }

    /// Why an object is not taken, if it is not.
    pub(crate) fn skip_reason(
        &self,
        object: &NewObject,
        datasets: &Datasets,
    ) -> Option<&'static str> {
        let Some(dataset) = datasets.get(&object.dataset) else { return Some(DROPPED) };
        let is_redacted = object.is_posted && object.version.key.ends_with(IntakeStore::REDACTED);
        (dataset.has_redaction() && !is_redacted && !self.redact_files).then_some(CLEAR_VALUES)
    }

    /// What decides where objects that are registered now are split.
    pub(crate) fn limits(&self) -> Limits {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Limits {
            chunk_bytes: bytes(self.chunk_bytes),
            chunk_lines: self.chunk_lines.get(),
            max_line_bytes: bytes(self.max_line_bytes),
        }
    }

    /// The binary logarithm of the largest window, rounded up.
    pub(crate) fn window_log(&self) -> u32 {
        self.zstd_window.next_power_of_two().ilog2()
    }

    /// Refuses settings that contradict each other or exceed the queue's message size, `max_body_bytes`.
    pub fn check(&self, datasets: &Datasets, max_body_bytes: usize) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.source.is_empty(),
            Invalid::new(
                "nothing to fetch: set --source or SOURCE, as in s3://bucket/prefix or ./directory, or `source` in a declaration"
            )
        );
        self.check_datasets(datasets)?;
        self.check_sizes(max_body_bytes)
    }

    /// Refuses limits with which no object can be read, or that exceed the queue's message size.
    pub(crate) fn check_sizes(&self, max_body_bytes: usize) -> anyhow::Result<()> {
        let limit = max_body_bytes as u64;
        self.check_limits()?;
        anyhow::ensure!(
            self.chunk_bytes <= limit,
            Invalid::new(format!(
                "CHUNK_BYTES is {} and the queue's messages hold {limit} bytes: lower it, or raise max_payload of the NATS server",
                self.chunk_bytes
            ))
        );
        // A line is sent with its line ending: "\r\n" at most.
        anyhow::ensure!(
            self.max_line_bytes + 2 <= limit,
            Invalid::new(format!(
                "MAX_LINE_BYTES is {} and the queue's messages hold {limit} bytes: lower it, or raise max_payload of the NATS server",
                self.max_line_bytes
            ))
        );
        Ok(())
    }

    /// Refuses locations whose dataset is not declared.
    pub(crate) fn check_datasets(&self, datasets: &Datasets) -> anyhow::Result<()> {
        for location in self.locations() {
            let name = self.dataset_of(location, datasets).ok_or_else(|| {
                let names = datasets.names();
                Invalid::new(format!(
                    "source {location} names no dataset, as in NAME={location}; there are: {names}"
                ))
            })?;
            anyhow::ensure!(
                datasets.get(name).is_some(),
                Invalid::new(format!(
                    "source {location}: there is no dataset {name}{}; there are: {}",
                    if location.dataset.is_none() { " (DATASET)" } else { "" },
                    datasets.names()
                ))
            );
        }
        Ok(())
    }

    /// Refuses limits with which no object can be read.
    pub fn check_limits(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.chunk_bytes > 0, Invalid::new("CHUNK_BYTES must be above 0"));
        anyhow::ensure!(self.max_line_bytes > 0, Invalid::new("MAX_LINE_BYTES must be above 0"));
        anyhow::ensure!(
            (1 << 10..=1 << 31).contains(&self.zstd_window),
            Invalid::new(format!(
                "ZSTD_WINDOW is {}: it must be between 1KiB and 2GiB",
                self.zstd_window
            ))
        );
        anyhow::ensure!(
            self.lease >= Duration::from_secs(1),
            Invalid::new("LEASE must be 1s or more: a lease is renewed every third of it")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn bytes_are_compared_as_times_and_keys_are() {
        let second = |seconds, nanos| {
            DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds) + TimeDelta::nanoseconds(nanos)
        };
        let times = [second(-1, 0), second(0, 0), second(0, 1), second(256, 0), second(1 << 33, 0)];
        let keys = ["a", "a\0", "a\0b", "a\u{1}", "a-b", "a/b", "ab", "b", "ä", "\u{fffd}", "😀"];
        let all = times.into_iter().flat_map(|last_modified| {
            keys.map(|key| ObjectVersion {
                root: String::new(),
                key: key.to_owned(),
                etag: String::new(),
                size: 0,
                last_modified,
            })
        });
        let all: Vec<ObjectVersion> = all.collect();
        let (by_time, by_key) = (OrderBy::Time.order_key(), OrderBy::Key.order_key());
        for a in &all {
            for b in &all {
                let of_times = a.last_modified.cmp(&b.last_modified);
                let of_keys = a.key.cmp(&b.key);
                assert_eq!(by_time(a).cmp(&by_time(b)), of_times.then(of_keys), "{a:?} {b:?}");
                assert_eq!(by_key(a).cmp(&by_key(b)), of_keys.then(of_times), "{a:?} {b:?}");
            }
        }
    }
}
