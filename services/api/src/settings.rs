//! What can be set.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use jetline_runtime::settings::{self, SecretUrl};

/// How the API answers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub struct ApiSettings {
    /// Address to serve on; 0.0.0.0:8080 is for everybody, port 0 for any free one.
    #[arg(long, env, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// How long a request may take; a statement may take half of it.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "10s")]
    pub request_timeout: Duration,

    /// The longest request body.
    #[arg(long, env, value_name = "BYTES", value_parser = settings::bytes, default_value = "64KiB")]
    pub max_body_bytes: u64,

    /// File of users, one `name:hash` a line as `jetline-api hash-password NAME` prints it.
    ///
    /// When set, everything but /healthz and /readyz asks for a user and a password (HTTP Basic), /metrics too.
    #[arg(long, env, value_name = "FILE")]
    pub users_file: Option<PathBuf>,
}

/// Where the API reads.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// The database, as in `postgres://user:password@host/name` or `sqlite://file`.
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub database_url: Option<SecretUrl>,

    /// A replica of it to read from instead.
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub database_read_url: Option<SecretUrl>,

    /// Connections to the database at most.
    #[arg(long, env, value_name = "NUMBER", default_value = "4")]
    pub database_connections: NonZeroU32,
}

impl DatabaseSettings {
    /// The database to read from, checked.
    pub fn url(&self) -> anyhow::Result<&SecretUrl> {
        let (variable, url) = match (&self.database_read_url, &self.database_url) {
            (Some(url), _) => ("DATABASE_READ_URL", url),
            (None, Some(url)) => ("DATABASE_URL", url),
            (None, None) => bail!("DATABASE_URL is not set: it names the database to read from"),
        };
        let scheme = url.parse(variable)?.scheme().to_owned();
        match scheme.as_str() {
            "postgres" | "postgresql" | "sqlite" => Ok(url),
            _ => Err(anyhow::anyhow!("{scheme}:// is not supported"))
                .with_context(|| format!("{variable} starts with postgres:// or sqlite://")),
        }
    }
}
