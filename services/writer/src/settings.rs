//! Settings of the writer.

use std::{num::NonZeroUsize, time::Duration};

use jetline_runtime::settings;

/// Limits and intervals of a writer.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Writer")]
pub struct WriterSettings {
    /// Number of transactions that a writer runs concurrently
    #[arg(long, env, default_value = "2")]
    pub writer_workers: NonZeroUsize,

    /// Maximum number of chunks in one transaction
    #[arg(long, env, default_value = "16")]
    pub writer_chunks: NonZeroUsize,

    /// How often a chunk that was delivered three times without an acknowledgement is tried alone, before it is
    /// dead-lettered
    #[arg(long, env, default_value = "5")]
    pub max_deliver: u32,

    /// Interval at which the acknowledgement deadline of chunks in progress is extended; well below the acknowledgement wait
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "5s")]
    pub progress_every: Duration,
}
