//! Servers of one's own for runs one after the other, and the network before them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream::{self, ErrorCode, context::GetStreamErrorKind, stream::Stream};
use futures::TryStreamExt;
use jetline_testkit::{
    disk::SmallDisk,
    nats::{NatsDamage, NatsOptions, NatsServer},
    postgres::PostgresServer,
    proxy::{Proxy, Weather},
    redis::RedisServer,
    s3::{Fault as S3Fault, S3Server},
};
use tokio::task::{JoinSet, spawn_blocking};
use url::Url;

use super::{
    fault::{Answer, Blow, LINKS, Part, Trouble},
    injector::Instance,
    step::Role,
};

/// How long a network is bad: longer than the services wait for an answer.
const BAD_WEATHER: Duration = Duration::from_millis(1300);

/// How long writers are at two servers: some changes of the epoch, of which each is later than the one before.
const SPLIT: Duration = Duration::from_secs(3);

/// How long NATS may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The size of the disk that NATS has, in bytes.
const DISK: u64 = 128 << 20;

/// From a snapshot of Redis until the crash after which it is loaded.
const SNAPSHOT_AGE: Duration = Duration::from_millis(120);

/// The servers of some runs.
pub(crate) struct Lane {
    postgres: Arc<Mutex<PostgresServer>>,
    nats: Arc<Mutex<NatsServer>>,
    /// What the streams of NATS are stored on.
    disk: SmallDisk,
    redis: Arc<Mutex<RedisServer>>,
    /// Where half of the writers are when Redis is split, and their way to Redis.
    other_redis: RedisServer,
    half: Proxy,
    pub(crate) s3: S3Server,
    links: Vec<((Role, Part), Proxy)>,
    urls: Urls,
}

struct Urls {
    postgres: Url,
    nats: Url,
    redis: Url,
}

impl Lane {
    /// Starts all servers.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let postgres = PostgresServer::start_with(&[
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("max_connections", "100"),
            ("shared_buffers", "32MB"),
            ("deadlock_timeout", "100ms"),
        ])?;
        let disk = SmallDisk::mount(DISK)?;
        let nats = NatsServer::start_with(NatsOptions {
            store: Some(disk.folder().join("store")),
            ..NatsOptions::default()
        })?;
        let (redis, s3) = (RedisServer::start()?, S3Server::start()?);
        let other_redis = RedisServer::start()?;
        let half = Proxy::start(local(&redis.url())?)?;
        let urls = Urls {
            postgres: postgres.url().parse()?,
            nats: nats.url(),
            redis: redis.url(),
        };
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
            postgres: Arc::new(Mutex::new(postgres)),
            nats: Arc::new(Mutex::new(nats)),
            disk,
            redis: Arc::new(Mutex::new(redis)),
            other_redis,
            half,
            s3,
            links,
            urls,
        })
    }

    /// The database of a name, past the network.
    pub(crate) fn database(&self, name: &str) -> String {
        let mut url = self.urls.postgres.clone();
        url.set_path(name);
        url.into()
    }

    /// Where a service finds a server: behind a network that can be bad.
    pub(crate) fn address(&self, role: Role, part: Part) -> SocketAddr {
        self.link(role, part).address()
    }

    /// The URL of a server as a service has it.
    pub(crate) fn url(&self, role: Role, part: Part) -> anyhow::Result<Url> {
        let mut server = match part {
            Part::Postgres => self.urls.postgres.clone(),
            Part::Nats => self.urls.nats.clone(),
            Part::Redis => self.urls.redis.clone(),
            Part::S3 => self.s3.endpoint().parse()?,
        };
        let behind = Some(self.address(role, part).port());
        server
            .set_port(behind)
            .ok()
            .context("a URL without a port")?;
        Ok(server)
    }

    /// The URL of Redis as a writer has it: half of them reach it in a way of their own.
    pub(crate) fn redis_url(&self, writer: Instance) -> anyhow::Result<Url> {
        let mut url = self.url(Role::Writer, Part::Redis)?;
        if writer.0 % 2 == 1 {
            let port = Some(self.half.address().port());
            url.set_port(port).ok().context("a URL without a port")?;
        }
        Ok(url)
    }

    /// The server itself, for what is asked of it between runs.
    pub(crate) fn postgres(&self) -> Arc<Mutex<PostgresServer>> {
        self.postgres.clone()
    }

    /// All networks are good again, and nothing is ordered of S3.
    pub(crate) fn calm(&self) {
        for (_, link) in &self.links {
            link.set(Weather::Clear);
        }
        if let Ok(redis) = local(&self.urls.redis) {
            self.half.redirect(redis);
        }
        self.s3.forget_faults();
    }

    /// Counts the faults that network trouble has caused so far, where it is trouble of the network.
    pub(crate) fn met_by(&self, blow: Blow) -> Option<u64> {
        match blow {
            Blow::Network(role, part, _) => Some(self.link(role, part).faults()),
            _ => None,
        }
    }

    /// How many messages a stream holds; none where there is no such stream.
    pub(crate) async fn messages(&self, stream: &str) -> anyhow::Result<u64> {
        let stream = self.stream(&self.jetstream().await?, stream).await?;
        Ok(stream.map_or(0, |stream| stream.cached_info().state.messages))
    }

    /// What NATS says of a stream and its consumers.
    pub(crate) async fn stream_standing(&self, stream: &str) -> anyhow::Result<Vec<String>> {
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

    /// Removes what a run has left behind.
    pub(crate) async fn clean_up(&self, stream: &str, bucket: &str) -> anyhow::Result<()> {
        self.s3.delete_bucket(bucket);
        self.delete_stream(stream).await?;
        self.other_redis.flush_all()?;
        self.redis(|redis| redis.flush_all()).await
    }

    /// Breaks a server or a network. What gets well by itself later does so in `later`.
    pub(crate) async fn strike(
        self: &Arc<Self>,
        blow: Blow,
        stream: &str,
        later: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        match blow {
            Blow::RedisFlushed => self.redis(|redis| redis.flush_all()).await?,
            Blow::RedisLost => self.redis(RedisServer::restart_empty).await?,
            Blow::RedisSnapshot => {
                self.redis(|redis| redis.save()).await?;
                let lane = self.clone();
                later.spawn(async move {
                    tokio::time::sleep(SNAPSHOT_AGE).await;
                    lane.redis(RedisServer::restart).await
                });
            }
            Blow::NatsCrashed => self.nats_server(NatsServer::restart).await?,
            Blow::NatsWiped => self.nats_server(NatsServer::wipe_and_restart).await?,
            Blow::NatsDiskFull => {
                self.disk.fill()?;
                let lane = self.clone();
                later.spawn(async move {
                    tokio::time::sleep(BAD_WEATHER).await;
                    lane.disk.free()?;
                    // It does not write again by itself when there is room.
                    lane.nats_server(NatsServer::restart).await
                });
            }
            Blow::StreamDeleted => self.delete_stream(stream).await?,
            Blow::ConsumerDeleted => self.delete_consumers(stream).await?,
            Blow::NatsMessagesDamaged => {
                self.nats_server(|nats| nats.damage_and_restart(NatsDamage::Messages))
                    .await?;
            }
            Blow::NatsConsumersDamaged => {
                self.nats_server(|nats| nats.damage_and_restart(NatsDamage::Consumers))
                    .await?;
            }
            Blow::RedisSplit => self.split_redis(later)?,
            Blow::PostgresRestarted => self.postgres_server(PostgresServer::restart).await?,
            Blow::PostgresCrashed => self.postgres_server(PostgresServer::crash).await?,
            Blow::Network(role, part, trouble) => self.trouble(role, part, trouble, later),
            Blow::S3(answer) => self.answer(answer),
            // Not of a server.
            Blow::BackendsTerminated
            | Blow::ObjectOverwritten
            | Blow::ObjectDeleted
            | Blow::DatabaseDiskFull
            | Blow::Stopped
            | Blow::ReaderStopped
            | Blow::AllKilled => {}
        }
        Ok(())
    }

    fn trouble(
        self: &Arc<Self>,
        role: Role,
        part: Part,
        trouble: Trouble,
        later: &mut JoinSet<anyhow::Result<()>>,
    ) {
        let weather = match trouble {
            Trouble::Cut => return self.link(role, part).cut(),
            Trouble::Refused => Weather::Refusing,
            Trouble::Stalled => Weather::Stalled,
            Trouble::Slow => Weather::Slow {
                delay: Duration::from_millis(15),
                bytes_per_second: 200_000,
            },
        };
        self.link(role, part).set(weather);
        let lane = self.clone();
        later.spawn(async move {
            tokio::time::sleep(BAD_WEATHER).await;
            lane.link(role, part).set(Weather::Clear);
            Ok(())
        });
    }

    fn split_redis(
        self: &Arc<Self>,
        later: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        self.half.redirect(local(&self.other_redis.url())?);
        let lane = self.clone();
        later.spawn(async move {
            tokio::time::sleep(SPLIT).await;
            lane.half.redirect(local(&lane.urls.redis)?);
            Ok(())
        });
        Ok(())
    }

    fn answer(&self, answer: Answer) {
        let (times, fault) = match answer {
            Answer::Status500 => (3, S3Fault::Status(500)),
            Answer::Status503 => (3, S3Fault::Status(503)),
            Answer::Truncated => (3, S3Fault::CutBody(700)),
            Answer::Reset => (3, S3Fault::Reset),
            Answer::Expired => (3, S3Fault::refusal(400, "ExpiredToken", "expired on order")),
            Answer::Late => (1, S3Fault::Delay(BAD_WEATHER)),
            Answer::Trickle => (
                2,
                S3Fault::Trickle {
                    block: 400,
                    every: Duration::from_millis(20),
                },
            ),
        };
        self.s3.fail_next_gets(times, &fault);
    }

    async fn delete_stream(&self, name: &str) -> anyhow::Result<()> {
        let jetstream = self.jetstream().await?;
        if self.stream(&jetstream, name).await?.is_some() {
            jetstream.delete_stream(name).await?;
        }
        Ok(())
    }

    async fn delete_consumers(&self, stream: &str) -> anyhow::Result<()> {
        let Some(stream) = self.stream(&self.jetstream().await?, stream).await? else {
            return Ok(());
        };
        let names: Vec<String> = stream.consumer_names().try_collect().await?;
        for name in names {
            stream.delete_consumer(&name).await?;
        }
        Ok(())
    }

    /// JetStream, asked with patience: on a busy machine it is slow.
    async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        let client = async_nats::connect(self.urls.nats.as_str()).await?;
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(PATIENCE);
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
                _ => Err(error).with_context(|| format!("cannot ask NATS for {name}")),
            },
        }
    }

    fn link(&self, role: Role, part: Part) -> &Proxy {
        let link = self.links.iter().find(|(link, _)| *link == (role, part));
        &link
            .expect("fetchers do not talk to Redis, and writers not to S3")
            .1
    }

    async fn redis(&self, act: fn(&mut RedisServer) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let redis = self.redis.clone();
        spawn_blocking(move || act(&mut lock(&redis))).await?
    }

    async fn nats_server(
        &self,
        act: fn(&mut NatsServer) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let nats = self.nats.clone();
        spawn_blocking(move || act(&mut lock(&nats))).await?
    }

    async fn postgres_server(
        &self,
        act: fn(&mut PostgresServer) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let postgres = self.postgres.clone();
        spawn_blocking(move || act(&mut lock(&postgres))).await?
    }
}

fn local(url: &Url) -> anyhow::Result<SocketAddr> {
    let port = url.port().context("a server without a port")?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn lock<T>(server: &Mutex<T>) -> MutexGuard<'_, T> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
