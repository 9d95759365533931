//! How much a writer does at once.

use std::{num::NonZeroUsize, time::Duration};

use jetline_runtime::settings;

/// How a writer consumes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Writer")]
pub struct WriterSettings {
    /// How many transactions a writer works on at the same time
    #[arg(long, env, default_value = "2")]
    pub writer_workers: NonZeroUsize,

    /// How many chunks go into one transaction at most
    #[arg(long, env, default_value = "16")]
    pub writer_chunks: NonZeroUsize,

    /// How often a chunk that was delivered three times to no end is tried alone, until it is given up
    #[arg(long, env, default_value = "5")]
    pub max_deliver: u32,

    /// How often the queue is told that work on a chunk goes on; well below the acknowledgement wait
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "5s")]
    pub progress_every: Duration,
}
