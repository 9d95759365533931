//! Settings of the API.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::{ArgAction, Args, value_parser};
use ipnet::IpNet;
use jetline_runtime::{
    ConnectionLimits,
    settings::{self, Invalid, SecretUrl},
};
use jetline_store::Database;
use url::Url;

use crate::{
    http::response_budget::PART_BYTES,
    intake::{IntakeMode, IntakeSettings},
};

/// Maximum age of a response: every commit is visible to all clients after this time.
const MAX_CACHE_TIME: Duration = Duration::from_secs(1);

/// All origins.
pub(crate) const ANY_ORIGIN: &str = "*";

/// Address, limits and cache of the API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API")]
pub struct ApiSettings {
    /// Address to listen on; a port alone is one of 127.0.0.1, 0.0.0.0:8080 is for all interfaces, port 0 for any free port.
    #[arg(long, env, value_name = "ADDRESS", value_parser = settings::address, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Timeout of a request; the timeout of a statement is half of it.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "10s")]
    pub request_timeout: Duration,

    /// Maximum size of a request body.
    #[arg(long, env, value_name = "BYTES", value_parser = settings::bytes, default_value = "64KiB")]
    pub max_body_bytes: u64,

    /// Maximum size of the head of a request: the request line and at most 100 headers.
    #[arg(long, env, value_name = "BYTES", value_parser = header_bytes, default_value = "32KiB")]
    pub max_header_bytes: usize,

    /// Timeout for receiving the head of a request, after which the connection is closed.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "10s")]
    pub header_timeout: Duration,

    /// How long an idle connection stays open; longer than a proxy in front keeps it.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "75s")]
    pub idle_timeout: Duration,

    /// Maximum number of open connections; more of them wait until others are closed.
    #[arg(long, env, value_name = "NUMBER", default_value = "1024", value_parser = value_parser!(u16).range(1..))]
    pub api_connections: u16,

    /// How long a record that was read by its id is served from the cache, counted from the start of the query: no
    /// response is older. At most 1s; 0s queries the database every time.
    #[arg(long, env, value_name = "DURATION", value_parser = cache_time, default_value = "500ms")]
    pub cache_time: Duration,

    /// Memory for cached records of each dataset; the most requested ones are kept.
    #[arg(long, env, value_name = "BYTES", value_parser = cache_bytes, default_value = "32MiB")]
    pub cache_bytes: usize,

    /// Memory for responses that are being sent, of all clients together; those of up to 16 KiB are not counted. When
    /// it is exhausted, further responses wait for half of the request timeout, and are then refused.
    #[arg(long, env, value_name = "BYTES", value_parser = answer_bytes, default_value = "64MiB")]
    pub answer_bytes: usize,

    /// File of users, one `name:hash:role:datasets` per line as printed by `jetline-api hash-password NAME`; role and datasets
    /// may be left out.
    ///
    /// When set, everything but /healthz and /readyz requires a user and a password (HTTP Basic), /metrics too.
    #[arg(long, env, value_name = "FILE")]
    pub users_file: Option<PathBuf>,

    /// Accept API keys that `jetline-api keys create` made, as bearer tokens.
    ///
    /// When true, everything but /healthz and /readyz requires one, or a user of `USERS_FILE`.
    #[arg(long, env, value_name = "BOOL", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    pub api_keys: bool,

    /// Requests per second of each user, or of each address without users; a burst may be as large. No limit by default.
    #[arg(long, env, value_name = "NUMBER")]
    pub rate_limit: Option<NonZeroU32>,

    /// Addresses or networks of the proxies in front, as in `10.0.0.0/8,192.0.2.1`: the client is the last address in their
    /// `X-Forwarded-For` that is not one of them. By default none: the client is who connects.
    #[arg(long, env, value_name = "NETWORK", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,

    /// Who may post records.
    #[command(flatten)]
    pub intake: IntakeSettings,

    /// Origins of web pages that may read, and post where users may, as in `https://shop.example`, separated by commas; * for all.
    #[arg(long, env, value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub cors_origins: Vec<String>,
}

impl ApiSettings {
    /// Whether users or API keys are configured.
    #[must_use]
    pub fn has_users(&self) -> bool {
        self.users_file.is_some() || self.api_keys
    }

    /// Whether anybody may post records.
    #[must_use]
    pub fn takes_records(&self) -> bool {
        match self.intake.intake {
            IntakeMode::Users => self.has_users(),
            IntakeMode::Open => true,
            IntakeMode::Off => false,
        }
    }

    /// Refuses settings that contradict each other.
    pub fn check(&self) -> anyhow::Result<()> {
        settings::check([self.check_intake(), self.connection_limits().map(drop)])
    }

    /// Refuses an intake that everybody could reach.
    pub(crate) fn check_intake(&self) -> anyhow::Result<()> {
        ensure!(
            self.intake.intake != IntakeMode::Open || self.listen.ip().is_loopback(),
            Invalid::new(format!(
                "INTAKE=open lets everybody write, and {} (LISTEN) is no loopback address: configure users (USERS_FILE) or API \
             keys (API_KEYS) with the role write, and set INTAKE=users",
                self.listen
            ))
        );
        Ok(())
    }

    /// The limits of connections, validated.
    pub(crate) fn connection_limits(&self) -> anyhow::Result<ConnectionLimits> {
        ensure!(
            self.header_timeout <= self.idle_timeout,
            Invalid::new(format!(
                "HEADER_TIMEOUT, {:?}, is longer than IDLE_TIMEOUT, {:?}, which would end a head before it",
                self.header_timeout, self.idle_timeout
            ))
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

/// Refuses what no browser sends as an origin.
fn origin(text: &str) -> Result<String, String> {
    let is_origin = Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    });
    if text == ANY_ORIGIN || is_origin {
        return Ok(text.to_owned());
    }
    Err("must be * or an origin as a browser sends it, such as https://shop.example: in lower case, without a path \
         and without the default port"
        .to_owned())
}

/// A network, or an address alone.
fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "must be an address or a network, such as 192.0.2.1 or 10.0.0.0/8".to_owned())
}

/// Refuses limits that no request fits in, or no machine has memory for.
fn header_bytes(text: &str) -> Result<usize, String> {
    let bytes = settings::bytes(text)?;
    usize::try_from(bytes)
        .ok()
        .filter(|bytes| (1 << 10..=1 << 20).contains(bytes))
        .ok_or_else(|| "must be from 1KiB to 1MiB".to_owned())
}

/// Refuses a cache time with which a response could be older than promised.
fn cache_time(text: &str) -> Result<Duration, String> {
    let time = settings::duration(text)?;
    if time > MAX_CACHE_TIME {
        return Err("must be at most 1s: responses must not be older".to_owned());
    }
    Ok(time)
}

/// Refuses a budget smaller than one page of a list.
fn answer_bytes(text: &str) -> Result<usize, String> {
    let bytes = cache_bytes(text)?;
    if bytes < PART_BYTES {
        return Err("must be at least 1MiB, the size of a page of a list".to_owned());
    }
    Ok(bytes)
}

fn cache_bytes(text: &str) -> Result<usize, String> {
    let bytes = settings::bytes(text)?;
    usize::try_from(bytes).map_err(|_| "is more than this machine can address".to_owned())
}

/// The database of the API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// The database, as in `postgres://user:password@host/name` or `sqlite://file`.
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub database_url: Option<SecretUrl>,

    /// A replica of it to read from instead.
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub database_read_url: Option<SecretUrl>,

    /// Maximum number of connections to the database.
    #[arg(long, env, value_name = "NUMBER", default_value = "4")]
    pub database_connections: NonZeroU32,
}

impl DatabaseSettings {
    /// A pool of connections to the database itself, whatever is read from. It may be unavailable.
    pub(crate) async fn open_for_writing(&self, api: &ApiSettings) -> anyhow::Result<Database> {
        let url = self.database_url.as_ref().context("DATABASE_URL is not set")?;
        let connections = self.database_connections.get();
        let opened =
            Database::open_for_writing(url.expose(), connections, api.request_timeout / 2).await;
        opened.with_context(|| format!("cannot open the database {url}"))
    }

    /// Connects to the database itself, whatever is read from.
    pub(crate) async fn connect(&self) -> anyhow::Result<Database> {
        let url = self.database_url.as_ref().context("DATABASE_URL is not set")?;
        let connected = Database::connect(url.expose(), 1).await;
        let database = connected.with_context(|| format!("cannot connect to {url}"))?;
        database.check_schema().await?;
        Ok(database)
    }

    /// The URL of the database to read from, validated.
    pub fn url(&self) -> anyhow::Result<&SecretUrl> {
        let (variable, url) = match (&self.database_read_url, &self.database_url) {
            (Some(url), _) => ("DATABASE_READ_URL", url),
            (None, Some(url)) => ("DATABASE_URL", url),
            (None, None) => {
                bail!(Invalid::new("DATABASE_URL is not set: it names the database to read from"))
            }
        };
        let scheme = url.parse(variable)?.scheme().to_owned();
        match scheme.as_str() {
            "postgres" | "postgresql" | "sqlite" => Ok(url),
            _ => bail!(Invalid::new(format!(
                "{variable} starts with postgres:// or sqlite://: {scheme}:// is not supported"
            ))),
        }
    }
}
