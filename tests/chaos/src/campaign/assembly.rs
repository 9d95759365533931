//! Builds the services of a run, in process or as programs, with the fault injection.

use std::{num::NonZeroUsize, path::PathBuf, process::Command, sync::Arc, time::Duration};

use anyhow::Context;
use jetline_dedup::{Dedup, Redis, RedisConfig, WithoutStore};
use jetline_fetcher::{FetcherSettings, Sources};
use jetline_oracle::MAX_LINE;
use jetline_queue::{JetStream, JetStreamConfig, Queue};
use jetline_runtime::{Shutdown, StartupSettings};
use jetline_source::{OwnDatabase, S3Access, S3Config};
use jetline_store::{Database, Ledger};
use jetline_testkit::postgres::statements::StatementProxy;
use jetline_writer::WriterSettings;

use crate::programs;

use super::{
    fault::Part,
    injector::Injector,
    plan::Plan,
    ports::{Breaker, FaultyDedup, FaultyQueue, FaultySource},
    refusal::{ROLE, Refusal},
    slot::Slot,
    statements::FaultyDatabase,
    step::Role,
};

pub(crate) const BUCKET: &str = "bucket";

/// The acknowledgement wait of all runs: a crashed writer's chunks are redelivered after it.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(1);

/// The lease of all runs: after it, another fetcher reads the objects of a fetcher that does not renew it.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// What all instances of a run share.
pub(crate) struct Site {
    pub(crate) slot: Arc<Slot>,
    pub(crate) plan: Plan,
    pub(crate) injector: Injector,
    pub(crate) database: String,
    pub(crate) stream: String,
    pub(crate) prefix: String,
    pub(crate) folder: PathBuf,
}

/// Runs a fetcher until it ends.
pub(crate) async fn fetch(
    site: &Site,
    breaker: Breaker,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let settings = fetcher_settings(&site.plan)?;
    let startup = StartupSettings { startup_timeout: Duration::from_secs(10) };
    let s3 = S3Config {
        s3_part_size: site.plan.part_bytes,
        s3_parallel_parts: NonZeroUsize::MIN,
        access: Some(S3Access {
            endpoint_url: site.slot.url(Role::Fetcher, Part::S3)?.to_string(),
            access_key_id: site.slot.s3.access_key().to_owned(),
            secret_access_key: site.slot.s3.secret_key().to_owned(),
        }),
        ..S3Config::default()
    };
    let sources = Sources::open(&settings, &s3, &startup, &OwnDatabase::default()).await?;
    let sources = sources.map(|inner| Arc::new(FaultySource { inner, breaker: breaker.clone() }));
    let queue = queue(site, Role::Fetcher, breaker.clone()).await?;
    let (database, _proxy) = database(site, Role::Fetcher, breaker.clone()).await?;
    let seed = site.plan.seed ^ (breaker.instance.0 as u64 + 1) << 32;
    jetline_fetcher::run(&settings, sources, queue, &database, seed, shutdown).await?;
    Ok(())
}

/// Runs a writer until it ends.
pub(crate) async fn write(
    site: &Site,
    breaker: Breaker,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let settings = WriterSettings {
        writer_workers: size(site.plan.workers)?,
        writer_chunks: size(site.plan.chunks_per_commit)?,
        max_deliver: 100,
        progress_every: Some(Duration::from_millis(300)),
    };
    let queue = queue(site, Role::Writer, breaker.clone()).await?;
    let (database, _proxy) = database(site, Role::Writer, breaker.clone()).await?;
    let ledger = Ledger::new(&database, chrono::Utc::now);
    let inner: Arc<dyn Dedup> = if site.plan.dedup {
        let config = RedisConfig {
            redis_prefix: site.prefix.clone(),
            redis_timeout: Duration::from_secs(1),
            ..RedisConfig::default()
        };
        let url = site.slot.redis_url(breaker.instance)?;
        Arc::new(Redis::connect(&url, &config).await?)
    } else {
        Arc::new(WithoutStore::off())
    };
    let seed = site.plan.seed ^ (breaker.instance.0 as u64 + 1) << 32;
    let dedup = Arc::new(FaultyDedup { inner, breaker });
    jetline_writer::run(&settings, queue, dedup, ledger, seed, shutdown).await?;
    Ok(())
}

fn fetcher_settings(plan: &Plan) -> anyhow::Result<FetcherSettings> {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        fetcher: FetcherSettings,
    }
    let flags = fetcher_flags(plan).into_iter().flat_map(|(name, value)| {
        let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
        [flag, value]
    });
    let arguments = std::iter::once("fetcher".to_owned()).chain(flags);
    let cli: Cli = clap::Parser::try_parse_from(arguments)?;
    Ok(cli.fetcher)
}

pub(super) fn fetcher_flags(plan: &Plan) -> [(&'static str, String); 6] {
    [
        ("SOURCE", format!("s3://{BUCKET}-{}", plan.seed)),
        ("CHUNK_BYTES", plan.chunk_bytes.to_string()),
        ("MAX_LINE_BYTES", MAX_LINE.to_string()),
        ("PUBLISH_WINDOW", "8".to_owned()),
        ("LEASE", format!("{}s", LEASE.as_secs())),
        ("RECONCILE_AFTER", "400ms".to_owned()),
    ]
}

async fn queue(site: &Site, role: Role, breaker: Breaker) -> anyhow::Result<Arc<dyn Queue>> {
    let config = JetStreamConfig {
        nats_url: None,
        nats_credentials: None,
        nats_ca_file: None,
        nats_cert_file: None,
        nats_key_file: None,
        nats_stream: site.stream.clone(),
        nats_max_bytes: site.plan.stream_bytes,
        nats_ack_wait: ACK_WAIT,
        nats_replicas: 1,
    };
    let url = site.slot.url(role, Part::Nats)?;
    let inner = Arc::new(JetStream::connect(&[url], &config, None).await?);
    Ok(Arc::new(FaultyQueue { inner, breaker }))
}

/// The database behind the statement proxy, which is behind the network proxy.
async fn database(
    site: &Site,
    role: Role,
    breaker: Breaker,
) -> anyhow::Result<(Database, StatementProxy)> {
    let (url, proxy) = database_url(site, role, breaker).await?;
    Ok((Database::connect(&url, 6).await?, proxy))
}

async fn database_url(
    site: &Site,
    role: Role,
    breaker: Breaker,
) -> anyhow::Result<(String, StatementProxy)> {
    let server = site.slot.address(role, Part::Postgres);
    let proxy = StatementProxy::start(server, Arc::new(FaultyDatabase::new(breaker))).await?;
    let mut url: url::Url = site.slot.database(&site.database).parse()?;
    let port = Some(proxy.address().port());
    url.set_port(port).ok().context("a URL without a port")?;
    if site.plan.refusal == Some(Refusal::Policy) {
        url.set_username(ROLE).ok().context("a URL without a user")?;
        url.set_password(Some(ROLE)).ok().context("a URL without a user")?;
    }
    Ok((url.into(), proxy))
}

/// The command that starts a service as a program, and its statement proxy.
pub(crate) async fn command(
    site: &Site,
    breaker: Breaker,
) -> anyhow::Result<(Command, StatementProxy)> {
    let (role, instance) = (breaker.role, breaker.instance);
    let (database, statements) = database_url(site, role, breaker).await?;
    let mut command = Command::new(programs::find(role.program())?);
    command.env_clear().current_dir(&site.folder);
    command.envs(fetcher_flags(&site.plan));
    let plan = &site.plan;
    command.envs([
        ("DATABASE_URL", database),
        ("NATS_URL", site.slot.url(role, Part::Nats)?.to_string()),
        ("NATS_STREAM", site.stream.clone()),
        ("NATS_MAX_BYTES", plan.stream_bytes.to_string()),
        ("NATS_ACK_WAIT", format!("{}s", ACK_WAIT.as_secs())),
        ("STARTUP_TIMEOUT", "10s".to_owned()),
    ]);
    match role {
        Role::Fetcher => command.envs([
            ("AWS_ENDPOINT_URL", site.slot.url(role, Part::S3)?.to_string()),
            ("AWS_ACCESS_KEY_ID", site.slot.s3.access_key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", site.slot.s3.secret_key().to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("S3_PART_SIZE", plan.part_bytes.to_string()),
            ("S3_PARALLEL_PARTS", "1".to_owned()),
        ]),
        Role::Writer if !plan.dedup => command.env("DEDUP", "off"),
        Role::Writer => command.envs([
            ("REDIS_URL", site.slot.redis_url(instance)?.to_string()),
            ("REDIS_PREFIX", site.prefix.clone()),
            ("REDIS_TIMEOUT", "1s".to_owned()),
        ]),
    };
    if role == Role::Writer {
        command.envs([
            ("WRITER_WORKERS", plan.workers.to_string()),
            ("WRITER_CHUNKS", plan.chunks_per_commit.to_string()),
            ("MAX_DELIVER", "100".to_owned()),
            ("PROGRESS_EVERY", "300ms".to_owned()),
        ]);
    }
    Ok((command, statements))
}

fn size(number: usize) -> anyhow::Result<NonZeroUsize> {
    NonZeroUsize::new(number).context("a plan without instances")
}
