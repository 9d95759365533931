//! Settings of the courier.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use jetline_runtime::settings::{self, Invalid};

/// Limits and times of deliveries.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Courier")]
pub struct CourierSettings {
    /// Timeout of a request to a destination, its answer included
    #[arg(long, env, value_name = "DURATION", value_parser = timeout, default_value = "10s")]
    pub deliver_timeout: Duration,

    /// How long an attempt may take, until its outcome is recorded; then another courier makes it again. More than
    /// the timeout of a request, by the time that a failover of the database may take
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "30s")]
    pub deliver_lease: Duration,

    /// Upper limit of the time before the second attempt; it doubles with each further one, up to an hour, and the time
    /// is random below it
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "1s")]
    pub deliver_backoff: Duration,

    /// How long after a delivery is due it is attempted again; then it is dead
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "3d")]
    pub deliver_max_age: Duration,

    /// Deliver also to private, link-local and loopback addresses
    #[arg(long, env, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub deliver_private: bool,

    /// CA file for the certificates of destinations, in PEM, besides the system's CAs
    #[arg(long, env, value_name = "FILE")]
    pub deliver_ca_file: Option<PathBuf>,
}

impl CourierSettings {
    /// Fails where no request would fit into a lease.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.deliver_lease >= self.deliver_timeout + Duration::from_secs(1),
            Invalid::new(format!(
                "DELIVER_LEASE, {:?}, must be at least a second more than DELIVER_TIMEOUT, {:?}",
                self.deliver_lease, self.deliver_timeout
            ))
        );
        Ok(())
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = settings::duration(text)?;
    if timeout.is_zero() || timeout > Duration::from_hours(1) {
        return Err("must be above 0, and at most an hour".to_owned());
    }
    Ok(timeout)
}
