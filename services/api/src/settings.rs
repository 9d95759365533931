//! What can be set.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::{Args, value_parser};
use jetline_runtime::{
    ConnectionLimits,
    settings::{self, SecretUrl},
};

use crate::answers::PART_BYTES;

/// How old an answer may be: what a writer has committed is read by everybody this much later.
const MAX_CACHE_TIME: Duration = Duration::from_secs(1);

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

    /// The longest head of a request: its first line and its headers, of which there are 100 at most.
    #[arg(long, env, value_name = "BYTES", value_parser = header_bytes, default_value = "32KiB")]
    pub max_header_bytes: usize,

    /// How long a client may take over the head of a request, until its connection is cut.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "10s")]
    pub header_timeout: Duration,

    /// How long a connection may stay open between two requests; longer than a proxy in front keeps it.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "75s")]
    pub idle_timeout: Duration,

    /// Open connections at most; more of them wait until others end.
    #[arg(long, env, value_name = "NUMBER", default_value = "1024", value_parser = value_parser!(u16).range(1..))]
    pub api_connections: u16,

    /// How long a record that was read is given to whoever asks for it by its id, counted from the question to the
    /// database: no answer is older. 1s at most; 0s asks the database every time.
    #[arg(long, env, value_name = "DURATION", value_parser = cache_time, default_value = "500ms")]
    pub cache_time: Duration,

    /// Memory for such records, of each dataset; those that are asked for most stay.
    #[arg(long, env, value_name = "BYTES", value_parser = cache_bytes, default_value = "32MiB")]
    pub cache_bytes: usize,

    /// Memory for answers that are being sent, those of all clients together; small ones, up to 16 KiB, are not counted. When
    /// it is full, more answers wait for half of the time that a request may take, and are then refused.
    #[arg(long, env, value_name = "BYTES", value_parser = answer_bytes, default_value = "64MiB")]
    pub answer_bytes: usize,

    /// File of users, one `name:hash` a line as `jetline-api hash-password NAME` prints it.
    ///
    /// When set, everything but /healthz and /readyz asks for a user and a password (HTTP Basic), /metrics too.
    #[arg(long, env, value_name = "FILE")]
    pub users_file: Option<PathBuf>,
}

impl ApiSettings {
    /// What clients are limited to, checked.
    pub(crate) fn connection_limits(&self) -> anyhow::Result<ConnectionLimits> {
        ensure!(
            self.header_timeout <= self.idle_timeout,
            "HEADER_TIMEOUT, {:?}, is longer than IDLE_TIMEOUT, {:?}, which would end a head before it",
            self.header_timeout,
            self.idle_timeout
        );
        Ok(ConnectionLimits {
            connections: self.api_connections.into(),
            header_bytes: self.max_header_bytes,
            header_time: self.header_timeout,
            idle_time: self.idle_timeout,
            stall_time: self.request_timeout,
        })
    }
}

/// A head that no request fits in, or that no machine has room for, is a mistake.
fn header_bytes(text: &str) -> Result<usize, String> {
    let bytes = settings::bytes(text)?;
    usize::try_from(bytes)
        .ok()
        .filter(|bytes| (1 << 10..=1 << 20).contains(bytes))
        .ok_or_else(|| "must be from 1KiB to 1MiB".to_owned())
}

/// What was committed a second ago is what everybody gets.
fn cache_time(text: &str) -> Result<Duration, String> {
    let time = settings::duration(text)?;
    if time > MAX_CACHE_TIME {
        return Err("must be 1s at most: nobody is to get what was replaced longer ago".to_owned());
    }
    Ok(time)
}

/// Less than a page has would let nobody read beside another.
fn answer_bytes(text: &str) -> Result<usize, String> {
    let bytes = cache_bytes(text)?;
    if bytes < PART_BYTES {
        return Err("must be 1MiB at least: a page of a list has as much".to_owned());
    }
    Ok(bytes)
}

fn cache_bytes(text: &str) -> Result<usize, String> {
    let bytes = settings::bytes(text)?;
    usize::try_from(bytes).map_err(|_| "is more than this machine can address".to_owned())
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
