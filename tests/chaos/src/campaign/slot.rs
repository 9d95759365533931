//! A slot for successive runs: its servers, and the network proxies in front of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream::{self, ErrorCode, context::GetStreamErrorKind, stream::Stream};
use clap::ValueEnum;
use futures::TryStreamExt;
use jetline_testkit::{
    disk::SmallDisk,
    nats::{NatsOptions, NatsServer},
    postgres::PostgresServer,
    proxy::{Proxy, Toxic},
    redis::RedisServer,
    s3::S3Server,
};
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;
use url::Url;

use super::{injector::Instance, step::Role};

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Part {
    Postgres,
    Nats,
    Redis,
    S3,
}

/// A connection between a service and a server.
pub(super) type Link = (Role, Part);

pub(super) const LINKS: [Link; 8] = [
    (Role::Fetcher, Part::S3),
    (Role::Fetcher, Part::Nats),
    (Role::Fetcher, Part::Postgres),
    (Role::Writer, Part::Nats),
    (Role::Writer, Part::Redis),
    (Role::Writer, Part::Postgres),
    (Role::Courier, Part::Nats),
    (Role::Courier, Part::Postgres),
];

/// The timeout of requests to NATS, which is slow on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The size of the disk of NATS, in bytes.
const DISK_BYTES: u64 = 128 << 20;

/// The servers of a slot.
pub(crate) struct Slot {
    postgres: Mutex<PostgresServer>,
    nats: Mutex<NatsServer>,
    /// The disk of NATS.
    pub(super) disk: SmallDisk,
    redis: Mutex<RedisServer>,
    /// The server of half of the writers when Redis is split, and their proxy.
    other_redis: RedisServer,
    half: Proxy,
    pub(crate) s3: S3Server,
    links: Vec<(Link, Proxy)>,
    urls: Urls,
}

struct Urls {
    postgres: Url,
    nats: Url,
    redis: Url,
}

impl Slot {
    /// Starts all servers.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let postgres = PostgresServer::start_with(&[
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("max_connections", "100"),
            ("shared_buffers", "32MB"),
            ("deadlock_timeout", "100ms"),
        ])?;
        let disk = SmallDisk::mount(DISK_BYTES)?;
        let nats = NatsServer::start_with(NatsOptions {
            store: Some(disk.folder().join("store")),
            ..NatsOptions::default()
        })?;
        let (redis, s3) = (RedisServer::start()?, S3Server::start()?);
        let other_redis = RedisServer::start()?;
        let half = Proxy::start(local(&redis.url())?)?;
        let urls = Urls { postgres: postgres.url().parse()?, nats: nats.url(), redis: redis.url() };
        let s3_url: Url = s3.endpoint().parse()?;
        let mut links = Vec::new();
        for link in LINKS {
            let url = match link.1 {
                Part::Postgres => &urls.postgres,
                Part::Nats => &urls.nats,
                Part::Redis => &urls.redis,
                Part::S3 => &s3_url,
            };
            links.push((link, Proxy::start(local(url)?)?));
        }
        Ok(Self {
            postgres: Mutex::new(postgres),
            nats: Mutex::new(nats),
            disk,
            redis: Mutex::new(redis),
            other_redis,
            half,
            s3,
            links,
            urls,
        })
    }

    /// The URL of a database, without the network proxy.
    pub(crate) fn database(&self, name: &str) -> String {
        let mut url = self.urls.postgres.clone();
        url.set_path(name);
        url.into()
    }

    /// The address of a server for a service: that of its network proxy.
    pub(crate) fn address(&self, role: Role, part: Part) -> SocketAddr {
        self.link((role, part)).address()
    }

    /// The URL of a server for a service.
    pub(crate) fn url(&self, role: Role, part: Part) -> anyhow::Result<Url> {
        let mut server = match part {
            Part::Postgres => self.urls.postgres.clone(),
            Part::Nats => self.urls.nats.clone(),
            Part::Redis => self.urls.redis.clone(),
            Part::S3 => self.s3.endpoint().parse()?,
        };
        let behind = Some(self.address(role, part).port());
        server.set_port(behind).ok().context("a URL without a port")?;
        Ok(server)
    }

    /// The URL of Redis for a writer: half of them have a separate proxy.
    pub(crate) fn redis_url(&self, writer: Instance) -> anyhow::Result<Url> {
        let mut url = self.url(Role::Writer, Part::Redis)?;
        if writer.0 % 2 == 1 {
            let port = Some(self.half.address().port());
            url.set_port(port).ok().context("a URL without a port")?;
        }
        Ok(url)
    }

    /// Removes all toxics and faults of S3.
    pub(crate) fn reset_faults(&self) {
        for (_, link) in &self.links {
            link.set(Toxic::None);
        }
        if let Ok(redis) = local(&self.urls.redis) {
            self.half.redirect(redis);
        }
        self.s3.forget_faults();
    }

    /// How many messages a stream has; 0 if it is missing.
    pub(crate) async fn messages(&self, stream: &str) -> anyhow::Result<u64> {
        let stream = self.stream(&self.jetstream().await?, stream).await?;
        Ok(stream.map_or(0, |stream| stream.cached_info().state.messages))
    }

    /// The state of a stream and its consumers, for the log.
    pub(crate) async fn stream_state(&self, stream: &str) -> anyhow::Result<Vec<String>> {
        let Some(stream) = self.stream(&self.jetstream().await?, stream).await? else {
            return Ok(vec!["there is no stream".to_owned()]);
        };
        let mut lines = vec![format!("stream: {:?}", stream.cached_info().state)];
        let consumers: Vec<_> = stream.consumers().try_collect().await?;
        lines.extend(consumers.iter().map(|consumer| {
            format!(
                "consumer {}: delivered {:?}, acknowledged {:?}, {} in flight, {} waiting, {} pulls",
                consumer.name,
                consumer.delivered,
                consumer.ack_floor,
                consumer.num_ack_pending,
                consumer.num_pending,
                consumer.num_waiting
            )
        }));
        Ok(lines)
    }

    /// Removes what a run left behind.
    pub(crate) async fn clean_up(&self, stream: &str, bucket: &str) -> anyhow::Result<()> {
        self.s3.delete_bucket(bucket);
        self.delete_stream(stream).await?;
        self.other_redis.flush_all()?;
        on(&self.redis, |redis| redis.flush_all())
    }

    pub(super) fn postgres(
        &self,
        act: impl FnOnce(&mut PostgresServer) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        on(&self.postgres, act)
    }

    pub(super) fn nats(
        &self,
        act: impl FnOnce(&mut NatsServer) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        on(&self.nats, act)
    }

    pub(super) fn redis(
        &self,
        act: impl FnOnce(&mut RedisServer) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        on(&self.redis, act)
    }

    /// Whether half of the writers use the other server.
    pub(super) fn split_redis(&self, is_split: bool) -> anyhow::Result<()> {
        let url = if is_split { &self.other_redis.url() } else { &self.urls.redis };
        self.half.redirect(local(url)?);
        Ok(())
    }

    pub(super) async fn delete_stream(&self, name: &str) -> anyhow::Result<()> {
        let jetstream = self.jetstream().await?;
        if self.stream(&jetstream, name).await?.is_some() {
            jetstream.delete_stream(name).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_consumers(&self, stream: &str) -> anyhow::Result<()> {
        let Some(stream) = self.stream(&self.jetstream().await?, stream).await? else {
            return Ok(());
        };
        let names: Vec<String> = stream.consumer_names().try_collect().await?;
        for name in names {
            stream.delete_consumer(&name).await?;
        }
        Ok(())
    }

    /// JetStream with a long timeout, for a busy machine; the server may be restarting.
    async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect(self.urls.nats.as_str()).await?;
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(TIMEOUT);
        Ok(jetstream)
    }

    async fn stream(
        &self,
        jetstream: &jetstream::Context,
        name: &str,
    ) -> anyhow::Result<Option<Stream>> {
        match jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(answer)
                    if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(error).with_context(|| format!("cannot get the stream {name}")),
            },
        }
    }

    pub(super) fn link(&self, of: Link) -> &Proxy {
        let link = self.links.iter().find(|(link, _)| *link == of);
        &link.expect("fetchers do not use Redis, and writers do not use S3").1
    }
}

fn local(url: &Url) -> anyhow::Result<SocketAddr> {
    let port = url.port().context("a server without a port")?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn on<T>(server: &Mutex<T>, act: impl FnOnce(&mut T) -> anyhow::Result<()>) -> anyhow::Result<()> {
    block_in_place(|| act(&mut server.lock().unwrap_or_else(PoisonError::into_inner)))
}
