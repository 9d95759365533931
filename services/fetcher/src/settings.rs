//! What is fetched, and how much at once.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use jetline_records::registry;
use jetline_runtime::settings;
use jetline_source::{Location, Locations};

/// What a fetcher reads and how.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Fetcher")]
pub struct FetcherSettings {
    /// Where objects come from: a directory, a file, or `s3://bucket/prefix`, each perhaps with wildcards, and perhaps
    /// with the dataset before it, as in `products=s3://bucket/products/*.jsonl.gz`; several are separated by commas. A
    /// backslash takes the meaning from the wildcard or comma behind it
    #[arg(long, env, value_name = "[DATASET=]LOCATION")]
    pub source: Vec<Locations>,

    /// The dataset of sources that do not name one
    #[arg(long, env, default_value = "products", value_parser = dataset)]
    pub dataset: String,

    /// Keep listing the sources, this long after the last time; without it, end when every object is done
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration)]
    pub watch: Option<Duration>,

    /// How many bytes of whole lines go into one chunk
    #[arg(long, env, value_name = "BYTES", value_parser = settings::bytes, default_value = "256KiB")]
    pub chunk_bytes: u64,

    /// How many lines go into one chunk at most, however short they are
    #[arg(long, env, value_name = "LINES", default_value = "4096")]
    pub chunk_lines: NonZeroU32,

    /// The longest line, in bytes; a longer one is rejected
    #[arg(long, env, value_name = "BYTES", value_parser = settings::bytes, default_value = "512KiB")]
    pub max_line_bytes: u64,

    /// How many objects are read at the same time
    #[arg(long, env, default_value = "2")]
    pub fetch_objects: NonZeroUsize,

    /// How many objects are leased at once at most, as long as they are small: together up to 4 MiB
    #[arg(long, env, default_value = "64")]
    pub fetch_batch: NonZeroUsize,

    /// How many chunks of an object, or of objects that are leased at once, may wait for the queue's acknowledgement
    #[arg(long, env, default_value = "32")]
    pub publish_window: NonZeroUsize,

    /// How long an object stays with a fetcher that has died, until another one reads on
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "30s")]
    pub lease: Duration,

    /// How long nothing of an object may be committed, while the queue holds nothing of it, until what is missing is read
    /// again
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "10s")]
    pub reconcile_after: Duration,

    /// The largest window of Zstandard data, which is held in memory; up to 2GiB, the largest that zstd makes
    #[arg(long, env, value_name = "SIZE", value_parser = settings::bytes, default_value = "128MiB")]
    pub zstd_window: u64,

    /// How many lines of an object may be rejected; with more, it fails and is not read any further
    #[arg(long, env, value_name = "LINES")]
    pub max_rejects: Option<u64>,
}

fn dataset(name: &str) -> Result<String, String> {
    let known: Vec<&str> = registry::datasets()
        .iter()
        .map(|dataset| dataset.name)
        .collect();
    if known.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "there is no such dataset; there are: {}",
        known.join(", ")
    ))
}

impl FetcherSettings {
    /// Every location, in the order in which they were given.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        self.source.iter().flat_map(Locations::all)
    }

    /// The binary logarithm of the largest window, rounded up.
    pub(crate) fn window_log(&self) -> u32 {
        self.zstd_window.next_power_of_two().ilog2()
    }

    /// Refuses what contradicts itself or does not fit the queue, whose messages hold `max_body_bytes`.
    pub fn check(&self, max_body_bytes: usize) -> anyhow::Result<()> {
        let limit = max_body_bytes as u64;
        anyhow::ensure!(
            !self.source.is_empty(),
            "nothing to fetch: set --source or SOURCE, as in s3://bucket/prefix or ./directory"
        );
        for location in self.locations() {
            if let Some(name) = &location.dataset {
                dataset(name).map_err(|error| anyhow::anyhow!("source {location}: {error}"))?;
            }
        }
        self.check_limits()?;
        anyhow::ensure!(
            self.chunk_bytes <= limit,
            "CHUNK_BYTES is {} and the queue's messages hold {limit} bytes: lower it, or raise max_payload of the NATS server",
            self.chunk_bytes
        );
        // A line travels with its end: "\r\n" at most.
        anyhow::ensure!(
            self.max_line_bytes + 2 <= limit,
            "MAX_LINE_BYTES is {} and the queue's messages hold {limit} bytes: lower it, or raise max_payload of the NATS server",
            self.max_line_bytes
        );
        anyhow::ensure!(
            (1 << 10..=1 << 31).contains(&self.zstd_window),
            "ZSTD_WINDOW is {}: it must be between 1KiB and 2GiB",
            self.zstd_window
        );
        anyhow::ensure!(
            self.lease >= Duration::from_secs(1),
            "LEASE must be 1s or more: it is renewed three times in its time"
        );
        Ok(())
    }

    /// Refuses limits with which no object can be read.
    pub(crate) fn check_limits(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.chunk_bytes > 0, "CHUNK_BYTES must be above 0");
        anyhow::ensure!(self.max_line_bytes > 0, "MAX_LINE_BYTES must be above 0");
        Ok(())
    }
}
