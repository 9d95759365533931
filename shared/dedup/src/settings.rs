//! The choice of the dedup store.

use std::sync::Arc;

use anyhow::ensure;
use clap::ValueEnum;
use jetline_runtime::{
    StartupSettings,
    settings::{Invalid, required},
};
use url::Url;

use crate::{Dedup, Error, Redis, RedisConfig, WithoutStore};

/// The settings of the dedup store.
#[derive(Clone, Debug, clap::Args)]
pub struct DedupSettings {
    /// The dedup store of the writers; the same for all writers of a database
    #[arg(long, env, value_enum, default_value_t = DedupMode::Redis, help_heading = "Dedup")]
    pub dedup: DedupMode,

    #[command(flatten)]
    pub redis: RedisConfig,
}

/// Where claims are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DedupMode {
    /// In the Redis server of `REDIS_URL`
    Redis,
    /// No claims: every record is written, which is slower and equally exact
    Off,
}

impl DedupSettings {
    /// Connects to the dedup store, or returns one without claims if `DEDUP` is off. A missing address is an error.
    pub async fn connect(&self, startup: &StartupSettings) -> anyhow::Result<Arc<dyn Dedup>> {
        if self.dedup == DedupMode::Off {
            if self.redis.redis_url.is_some() {
                tracing::warn!("REDIS_URL is set and not used, because DEDUP is off");
            }
            return Ok(Arc::new(WithoutStore::off()));
        }
        let url = self.url()?;
        let redis = startup
            .connect("the dedup store (REDIS_URL)", Error::is_transient, || {
                Redis::connect(&url, &self.redis)
            })
            .await?;
        Ok(Arc::new(redis))
    }

    /// Refuses a missing or malformed address.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.dedup == DedupMode::Off { Ok(()) } else { self.url().map(drop) }
    }

    fn url(&self) -> anyhow::Result<Url> {
        let purpose = "the dedup store that all writers share; to do without one, set DEDUP=off for all of them";
        let url = required(self.redis.redis_url.as_ref(), "REDIS_URL", purpose)?;
        let url = url.parse("REDIS_URL")?;
        ensure!(
            matches!(
                url.scheme(),
                "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" | "valkey+unix"
            ),
            Invalid::new("REDIS_URL must begin with redis://, rediss:// or unix://")
        );
        Ok(url)
    }
}
