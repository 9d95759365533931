//! NATS and Redis from outside. A server that is away gives no sample.

use std::time::Duration;

use anyhow::Context;
use jetline_testkit::{nats::NatsServer, redis::RedisServer};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::http;

/// How long a server may take for a sample.
const PATIENCE: Duration = Duration::from_secs(2);

/// NATS, by its own figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct NatsSample {
    pub(super) connections: u64,
    pub(super) subscriptions: u64,
    pub(super) consumers: u64,
    /// What the streams hold.
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Redis, by its own figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct RedisSample {
    /// Of the installation.
    pub(super) connections: u64,
    pub(super) used_bytes: u64,
    pub(super) keys: u64,
}

pub(super) async fn nats(server: &NatsServer) -> anyhow::Result<NatsSample> {
    let address = server.monitoring().context("NATS serves no figures")?;
    let ask = async |path| -> anyhow::Result<Value> {
        let answer = timeout(PATIENCE, http::get(address, path)).await??;
        Ok(serde_json::from_str(&answer.body)?)
    };
    let (general, jetstream) = (ask("/varz").await?, ask("/jsz").await?);
    let number = |figures: &Value, name: &str| {
        let number = figures[name].as_u64();
        number.with_context(|| format!("NATS does not tell {name}"))
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
    timeout(PATIENCE, ask_redis(server)).await?
}

async fn ask_redis(server: &RedisServer) -> anyhow::Result<RedisSample> {
    let client = redis::Client::open(server.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let clients: String = redis::cmd("CLIENT")
        .arg("LIST")
        .query_async(&mut connection)
        .await?;
    let info: redis::InfoDict = redis::cmd("INFO").query_async(&mut connection).await?;
    Ok(RedisSample {
        // All but the one that asks.
        connections: clients.lines().count().saturating_sub(1) as u64,
        used_bytes: info.get("used_memory").context("INFO tells no memory")?,
        keys: redis::cmd("DBSIZE").query_async(&mut connection).await?,
    })
}
