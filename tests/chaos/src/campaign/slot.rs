//! A slot for successive runs: its servers, and the network proxies in front of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream::{self, ErrorCode, context::GetStreamErrorKind, stream::Stream};
use futures::TryStreamExt;
use jetline_testkit::{
    disk::SmallDisk,
    nats::{NatsDamage, NatsOptions, NatsServer},
    postgres::PostgresServer,
    proxy::{Proxy, Toxic},
    redis::RedisServer,
    s3::{Fault as S3Fault, S3Server},
};
use tokio::task::{JoinSet, block_in_place};
use url::Url;

use super::{
    fault::{Disruption, LINKS, NetworkFault, Part, S3Response},
    injector::Instance,
    step::Role,
};

/// How long a toxic lasts: longer than the services' timeouts.
const TOXIC_TIME: Duration = Duration::from_millis(1300);

/// How long writers use two servers: enough for some changes of the epoch, whose delays grow.
const SPLIT: Duration = Duration::from_secs(3);

/// The timeout of requests to NATS, which is slow on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The size of the disk of NATS, in bytes.
const DISK_BYTES: u64 = 128 << 20;

/// The age of a snapshot of Redis when the server is killed and loads it.
const SNAPSHOT_AGE: Duration = Duration::from_millis(120);

/// The servers of a slot.
pub(crate) struct Slot {
    postgres: Mutex<PostgresServer>,
    nats: Mutex<NatsServer>,
    /// The disk of NATS.
    disk: SmallDisk,
    redis: Mutex<RedisServer>,
    /// The server of half of the writers when Redis is split, and their proxy.
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
        self.link(role, part).address()
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

    /// How often a network fault had an effect so far; `None` for other disruptions.
    pub(crate) fn effects_of(&self, disruption: Disruption) -> Option<u64> {
        match disruption {
            Disruption::Network(role, part, _) => Some(self.link(role, part).faults()),
            _ => None,
        }
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

    /// Disrupts a server or a network. Tasks in `later` end temporary disruptions.
    pub(crate) async fn disrupt(
        self: &Arc<Self>,
        disruption: Disruption,
        stream: &str,
        later: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        match disruption {
            Disruption::RedisFlushed => on(&self.redis, |redis| redis.flush_all())?,
            Disruption::RedisLost => on(&self.redis, RedisServer::restart_empty)?,
            Disruption::RedisSnapshot => {
                on(&self.redis, |redis| redis.save())?;
                let slot = self.clone();
                later.spawn(async move {
                    tokio::time::sleep(SNAPSHOT_AGE).await;
                    on(&slot.redis, RedisServer::restart)
                });
            }
            Disruption::NatsCrashed => on(&self.nats, NatsServer::restart)?,
            Disruption::NatsWiped => on(&self.nats, NatsServer::wipe_and_restart)?,
            Disruption::NatsDiskFull => {
                self.disk.fill()?;
                let slot = self.clone();
                later.spawn(async move {
                    tokio::time::sleep(TOXIC_TIME).await;
                    slot.disk.free()?;
                    // It does not write again by itself when there is space.
                    on(&slot.nats, NatsServer::restart)
                });
            }
            Disruption::StreamDeleted => self.delete_stream(stream).await?,
            Disruption::ConsumerDeleted => self.delete_consumers(stream).await?,
            Disruption::NatsMessagesDamaged => {
                on(&self.nats, |nats| nats.damage_and_restart(NatsDamage::Messages))?;
            }
            Disruption::NatsConsumersDamaged => {
                on(&self.nats, |nats| nats.damage_and_restart(NatsDamage::Consumers))?;
            }
            Disruption::RedisSplit => self.split_redis(later)?,
            Disruption::PostgresRestarted => on(&self.postgres, PostgresServer::restart)?,
            Disruption::PostgresCrashed => on(&self.postgres, PostgresServer::crash)?,
            Disruption::Network(role, part, fault) => self.network_fault(role, part, fault, later),
            Disruption::S3(response) => self.s3_response(response),
            // Not of a server.
            Disruption::BackendsTerminated
            | Disruption::ObjectOverwritten
            | Disruption::ObjectDeleted
            | Disruption::DatabaseDiskFull
            | Disruption::Stopped
            | Disruption::ReaderStopped
            | Disruption::AllKilled => {}
        }
        Ok(())
    }

    fn network_fault(
        self: &Arc<Self>,
        role: Role,
        part: Part,
        fault: NetworkFault,
        later: &mut JoinSet<anyhow::Result<()>>,
    ) {
        let toxic = match fault {
            NetworkFault::Reset => return self.link(role, part).reset_connections(),
            NetworkFault::Refused => Toxic::Refuse,
            NetworkFault::Stalled => Toxic::Stall,
            NetworkFault::Slow => {
                Toxic::Slow { delay: Duration::from_millis(15), bytes_per_second: 200_000 }
            }
        };
        self.link(role, part).set(toxic);
        let slot = self.clone();
        later.spawn(async move {
            tokio::time::sleep(TOXIC_TIME).await;
            slot.link(role, part).set(Toxic::None);
            Ok(())
        });
    }

    fn split_redis(
        self: &Arc<Self>,
        later: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        self.half.redirect(local(&self.other_redis.url())?);
        let slot = self.clone();
        later.spawn(async move {
            tokio::time::sleep(SPLIT).await;
            slot.half.redirect(local(&slot.urls.redis)?);
            Ok(())
        });
        Ok(())
    }

    fn s3_response(&self, response: S3Response) {
        let (times, fault) = match response {
            S3Response::Status500 => (3, S3Fault::Status(500)),
            S3Response::Status503 => (3, S3Fault::Status(503)),
            S3Response::Truncated => (3, S3Fault::CutBody(700)),
            S3Response::Reset => (3, S3Fault::Reset),
            S3Response::Expired => (3, S3Fault::refusal(400, "ExpiredToken", "injected fault")),
            S3Response::Late => (1, S3Fault::Delay(TOXIC_TIME)),
            S3Response::Trickle => {
                (2, S3Fault::Trickle { block: 400, every: Duration::from_millis(20) })
            }
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

    fn link(&self, role: Role, part: Part) -> &Proxy {
        let link = self.links.iter().find(|(link, _)| *link == (role, part));
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
