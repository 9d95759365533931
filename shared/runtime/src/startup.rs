//! Connects to servers at start, with retries, since they may be starting too.

use std::{error::Error, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::time::Instant;

use crate::{Backoff, causes, settings};

/// The settings of the start of a process.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Startup")]
pub struct StartupSettings {
    /// How long to retry at start while a server is unavailable
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "60s")]
    pub startup_timeout: Duration,
}

impl StartupSettings {
    /// Connects, retrying transient errors until the startup timeout.
    pub async fn connect<T, E: Error + Send + Sync + 'static>(
        &self,
        what: &str,
        is_transient: impl Fn(&E) -> bool,
        mut connect: impl AsyncFnMut() -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let begin = Instant::now();
        let mut backoff = Backoff::for_calls(0);
        loop {
            let error = match connect().await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            let delay = backoff.next_delay();
            if !is_transient(&error) || begin.elapsed() + delay > self.startup_timeout {
                return Err(error).with_context(|| format!("cannot start without {what}"));
            }
            tracing::warn!(
                error = causes(&error),
                what,
                delay_ms = crate::millis(delay),
                "connect failed, retrying"
            );
            tokio::time::sleep(delay).await;
        }
    }
}
