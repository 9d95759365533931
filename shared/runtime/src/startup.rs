//! Connecting at start, where what is connected to may be starting too.

use std::{error::Error, time::Duration};

use anyhow::Context;
use clap::Args;
use tokio::time::Instant;

use crate::{Backoff, settings};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// How a process starts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Startup")]
pub struct StartupSettings {
    /// How long to wait at start for a server that does not answer yet
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "60s")]
    pub startup_patience: Duration,
}

impl StartupSettings {
    /// Connects, trying again while `is_passing` says that it may help and patience lasts.
    pub async fn connect<T, E: Error + Send + Sync + 'static>(
        &self,
        what: &'static str,
        is_passing: impl Fn(&E) -> bool,
        mut connect: impl AsyncFnMut() -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let begin = Instant::now();
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY, 0);
        loop {
            let error = match connect().await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            let delay = backoff.next_delay();
            if !is_passing(&error) || begin.elapsed() + delay > self.startup_patience {
                return Err(error).with_context(|| format!("cannot start without {what}"));
            }
            tracing::warn!(
                error = &error as &dyn Error,
                what,
                ?delay,
                "waiting for a server to start"
            );
            tokio::time::sleep(delay).await;
        }
    }
}
