//! Settings of the Redis adapter.

use std::{fmt, path::PathBuf, time::Duration};

use clap::Args;
use jetline_runtime::settings::SecretUrl;
use url::Url;

/// The Redis server of the entries, and their key prefix.
#[derive(Args, Clone)]
#[command(next_help_heading = "Dedup")]
pub struct RedisConfig {
    /// Redis server that all writers share, as in `redis://user:password@host:6379/0`, or `rediss://` with TLS.
    ///
    /// Redis 7.0 or later, one primary with or without replicas; Redis Cluster is not supported. Its data may be lost at
    /// any time, but single keys must not be evicted: leave `maxmemory-policy` at `noeviction`.
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<SecretUrl>,

    /// CA file for Redis's certificate, in PEM, instead of the system's CAs.
    #[arg(long, env, value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,

    /// Client certificate for Redis, in PEM.
    #[arg(long, env, value_name = "FILE", requires = "redis_key_file")]
    pub redis_cert_file: Option<PathBuf>,

    /// Private key of the client certificate, in PEM.
    #[arg(long, env, value_name = "FILE", requires = "redis_cert_file")]
    pub redis_key_file: Option<PathBuf>,

    /// Prefix of its keys; deployments that share a server need different ones.
    #[arg(long, env, value_name = "TEXT", default_value = "jetline")]
    pub redis_prefix: String,

    /// Timeout of connection attempts and commands; a command that times out is retried.
    #[arg(long, env, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "5s")]
    pub redis_timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            redis_url: None,
            redis_ca_file: None,
            redis_cert_file: None,
            redis_key_file: None,
            redis_prefix: "jetline".to_owned(),
            redis_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("redis_url", &self.redis_url)
            .field("redis_ca_file", &self.redis_ca_file)
            .field("redis_cert_file", &self.redis_cert_file)
            .field("redis_key_file", &self.redis_key_file)
            .field("redis_prefix", &self.redis_prefix)
            .field("redis_timeout", &self.redis_timeout)
            .finish()
    }
}

/// A URL without its user, password and query, for errors and logs.
pub(super) fn address(url: &Url) -> String {
    let mut url = url.clone();
    // These fail for URLs that cannot have a user: then there is none to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        redis: RedisConfig,
    }

    #[test]
    fn defaults_of_flags_and_of_code_agree() {
        let flags = Flags::parse_from(["jetline"]).redis;
        let code = RedisConfig::default();
        assert_eq!(flags.redis_prefix, code.redis_prefix);
        assert_eq!(flags.redis_timeout, code.redis_timeout);
    }

    #[test]
    fn credentials_are_not_shown() {
        let config = RedisConfig {
            redis_url: Some("redis://user:secret@cache:6379/3?x=secret".to_owned().into()),
            ..RedisConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(shown.contains("redis://cache:6379/3"), "{shown}");
        assert!(!shown.contains("user") && !shown.contains("secret"), "{shown}");
    }
}
