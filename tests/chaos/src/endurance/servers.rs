//! Samples of NATS and Redis. A server that is unavailable has none.

use std::time::Duration;

use anyhow::Context;
use jetline_testkit::{http, nats::NatsServer, redis::RedisServer};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

/// The timeout of a sample.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The state of NATS, from its monitoring.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct NatsSample {
    pub(super) connections: u64,
    pub(super) subscriptions: u64,
    pub(super) consumers: u64,
    /// The size of the streams.
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// The state of Redis, from INFO.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct RedisSample {
    /// Connections of the installation.
    pub(super) connections: u64,
    pub(super) used_bytes: u64,
    pub(super) keys: u64,
}

pub(super) async fn nats(server: &NatsServer) -> anyhow::Result<NatsSample> {
    let address = server.monitoring().context("NATS serves no monitoring")?;
    let ask = async |path| -> anyhow::Result<Value> {
        Ok(timeout(TIMEOUT, http::get(address, path, &[])).await??.json())
    };
    let (general, jetstream) = (ask("/varz").await?, ask("/jsz").await?);
    let number = |figures: &Value, name: &str| {
        let number = figures[name].as_u64();
        number.with_context(|| format!("NATS does not report {name}"))
    };
    Ok(NatsSample {
        connections: number(&general, "connections")?,
        subscriptions: number(&general, "subscriptions")?,
        consumers: number(&jetstream, "consumers")?,
        messages: number(&jetstream, "messages")?,
        bytes: number(&jetstream, "bytes")?,
    })
}

pub(super) async fn redis(server: &RedisServer) -> anyhow::Result<RedisSample> {
    timeout(TIMEOUT, ask_redis(server)).await?
}

async fn ask_redis(server: &RedisServer) -> anyhow::Result<RedisSample> {
    let client = redis::Client::open(server.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await?;
    let info: redis::InfoDict = redis::cmd("INFO").query_async(&mut connection).await?;
    Ok(RedisSample {
        // Without the own connection.
        connections: clients.lines().count().saturating_sub(1) as u64,
        used_bytes: info.get("used_memory").context("INFO has no used_memory")?,
        keys: redis::cmd("DBSIZE").query_async(&mut connection).await?,
    })
}
