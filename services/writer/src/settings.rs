//! Settings of the writer.

use std::{num::NonZeroUsize, time::Duration};

use anyhow::ensure;
use jetline_datasets::RedactionKey;
use jetline_runtime::settings::{self, Invalid};

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

    /// Interval at which the acknowledgement deadline of chunks in progress is extended, below the acknowledgement wait; a
    /// sixth of it if not set
    #[arg(long, env, value_name = "DURATION", value_parser = settings::positive_duration)]
    pub progress_every: Option<Duration>,

    /// The key by which values of redacted columns are hashed. Without it, all records of files that have clear values are
    /// rejected.
    #[arg(skip)]
    pub redact_key: Option<RedactionKey>,
}

impl WriterSettings {
    /// The settings for a queue with this acknowledgement wait (`NATS_ACK_WAIT`). Fails where chunks in progress would be
    /// redelivered.
    pub fn with_ack_wait(&self, ack_wait: Duration) -> anyhow::Result<Self> {
        let every = self.progress_every.unwrap_or(ack_wait / 6);
        ensure!(
            every < ack_wait,
            Invalid::new(format!(
                "PROGRESS_EVERY, {every:?}, is not below NATS_ACK_WAIT, {ack_wait:?}: chunks in progress would be redelivered"
            ))
        );
        Ok(Self { progress_every: Some(every), ..self.clone() })
    }
}
