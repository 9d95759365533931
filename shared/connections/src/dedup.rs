//! Which dedup the writers use.

use std::sync::Arc;

use clap::ValueEnum;
use jetline_dedup::{Dedup, Redis, RedisConfig, WithoutStore};
use jetline_runtime::{StartupSettings, settings::required};

/// How writers find out what is unchanged.
#[derive(Clone, Debug, clap::Args)]
pub struct DedupSettings {
    /// Whether writers share a dedup store; the same for all writers of a database
    #[arg(long, env, value_enum, default_value_t = DedupMode::Redis, help_heading = "Dedup")]
    pub dedup: DedupMode,

    #[command(flatten)]
    pub redis: RedisConfig,
}

/// Where claims are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DedupMode {
    /// In the Redis of `REDIS_URL`.
    Redis,
    /// Nowhere: every record is written; exact, only slower.
    Off,
}

impl DedupSettings {
    /// The dedup store, or none where it is switched off; never none because an address is missing.
    pub async fn connect(&self, startup: &StartupSettings) -> anyhow::Result<Arc<dyn Dedup>> {
        if self.dedup == DedupMode::Off {
            if self.redis.redis_url.is_some() {
                tracing::warn!("REDIS_URL is set and not used, because DEDUP is off");
            }
            return Ok(Arc::new(WithoutStore::off()));
        }
        let purpose = "the dedup store that all writers share; to do without one, set DEDUP=off for all of them";
        let url = required(self.redis.redis_url.as_ref(), "REDIS_URL", purpose)?;
        let url = url.parse("REDIS_URL")?;
        let redis = startup
            .connect(
                "the dedup store (REDIS_URL)",
                jetline_dedup::Error::is_passing,
                || Redis::connect(&url, &self.redis),
            )
            .await?;
        Ok(Arc::new(redis))
    }
}
