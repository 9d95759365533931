//! Builds the services of a run, in process or as programs, with the fault injection.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, Command};
use jetline_courier::{Courier, CourierSettings};
use jetline_dedup::{Dedup, Redis, RedisConfig, WithoutStore};
use jetline_fetcher::Sources;
use jetline_oracle::MAX_LINE;
use jetline_queue::{JetStream, JetStreamConfig, Queue, Subject, Wakeup};
use jetline_runtime::Shutdown;
use jetline_source::{IntakeStore, OwnDatabase, S3Config};
use jetline_store::{Database, Ledger};
use jetline_testkit::postgres::statements::StatementProxy;

use super::{
    injector::Injector,
    plan::Plan,
    ports::{Breaker, FaultyDedup, FaultyQueue, FaultySource},
    receiver::Receiver,
    refusal::{ROLE, Refusal},
    slot::{Part, Slot},
    statements::FaultyDatabase,
    step::Role,
};

pub(crate) const BUCKET: &str = "bucket";

/// The acknowledgement wait of all runs: a crashed writer's chunks are redelivered after it.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(1);

/// The lease of all runs: after it, another fetcher reads the objects of a fetcher that does not renew it.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// A variable of the environment of a service.
type Setting = (&'static str, String);

/// What all instances of a run share.
pub(crate) struct Site {
    pub(crate) slot: Arc<Slot>,
    pub(crate) plan: Plan,
    pub(crate) injector: Injector,
    pub(crate) database: String,
    pub(crate) stream: String,
    pub(crate) prefix: String,
    pub(crate) folder: PathBuf,
    pub(crate) receiver: Receiver,
}

/// Runs a fetcher until it ends.
pub(crate) async fn fetch(
    site: &Site,
    breaker: Breaker,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (settings, _proxy) = settings(site, breaker.clone()).await?;
    let s3 = S3Config {
        sdk: Some(jetline_testkit::s3::sdk_config(
            site.slot.url(Role::Fetcher, Part::S3)?.as_str(),
        )),
        ..parse(&settings)?
    };
    let fetcher = parse(&settings)?;
    let sources = Sources::open(
        &fetcher,
        &IntakeStore::default(),
        &s3,
        &parse(&settings)?,
        &OwnDatabase::default(),
    )
    .await?;
    let sources = sources.map(|inner| Arc::new(FaultySource { inner, breaker: breaker.clone() }));
    let queue = queue(site, &settings, breaker.clone()).await?;
    let database = database(&settings).await?;
    let seed = site.plan.seed ^ (breaker.instance.0 as u64 + 1) << 32;
    jetline_fetcher::run(&fetcher, sources, queue, &database, seed, shutdown).await?;
    Ok(())
}

/// Runs a writer until it ends.
pub(crate) async fn write(
    site: &Site,
    breaker: Breaker,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (settings, _proxy) = settings(site, breaker.clone()).await?;
    let queue = queue(site, &settings, breaker.clone()).await?;
    let database = database(&settings).await?;
    let ledger = Ledger::new(&database, chrono::Utc::now);
    let inner: Arc<dyn Dedup> = if site.plan.dedup {
        let config: RedisConfig = parse(&settings)?;
        Arc::new(Redis::connect(&site.slot.redis_url(breaker.instance)?, &config).await?)
    } else {
        Arc::new(WithoutStore::off())
    };
    let seed = site.plan.seed ^ (breaker.instance.0 as u64 + 1) << 32;
    let dedup = Arc::new(FaultyDedup { inner, breaker });
    jetline_writer::run(&parse(&settings)?, queue, dedup, ledger, seed, shutdown).await?;
    Ok(())
}

/// Runs a courier until it ends.
pub(crate) async fn deliver(
    site: &Site,
    breaker: Breaker,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (settings, _proxy) = settings(site, breaker).await?;
    let nats = site.slot.url(Role::Courier, Part::Nats)?;
    let wakeup = Wakeup::connect(&[nats], &parse(&settings)?, Subject::Deliveries).await?;
    let database = database(&settings).await?;
    let url = setting(&settings, "CRM_URL")?;
    let variables = Box::new(move |name: &str| (name == "CRM_URL").then(|| url.clone()));
    let courier: CourierSettings = parse(&settings)?;
    Courier::new(&courier, &database, wakeup, variables).await?.run(shutdown).await
}

fn setting(settings: &[Setting], name: &str) -> anyhow::Result<String> {
    let found = settings.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.clone()).with_context(|| format!("no {name}"))
}

async fn queue(
    site: &Site,
    settings: &[Setting],
    breaker: Breaker,
) -> anyhow::Result<Arc<dyn Queue>> {
    let config: JetStreamConfig = parse(settings)?;
    let url = site.slot.url(breaker.role, Part::Nats)?;
    let inner = Arc::new(JetStream::connect(&[url], &config, None).await?);
    Ok(Arc::new(FaultyQueue { inner, breaker }))
}

async fn database(settings: &[Setting]) -> anyhow::Result<Database> {
    Ok(Database::connect(&setting(settings, "DATABASE_URL")?, 6).await?)
}

/// Parses the settings of one part of a service, as its program does; those of other parts are ignored.
fn parse<T: Args>(settings: &[Setting]) -> anyhow::Result<T> {
    let command = T::augment_args(Command::new("service").no_binary_name(true));
    let flag = |(name, value): &Setting| {
        let mut known = command.get_arguments();
        let known = known.find(|known| known.get_env() == Some(name.as_ref()))?;
        Some(format!("--{}={value}", known.get_long()?))
    };
    let flags: Vec<String> = settings.iter().filter_map(flag).collect();
    Ok(T::from_arg_matches(&command.try_get_matches_from(flags)?)?)
}

/// The environment of an instance, and its statement proxy.
pub(crate) async fn settings(
    site: &Site,
    breaker: Breaker,
) -> anyhow::Result<(Vec<Setting>, StatementProxy)> {
    let (role, instance) = (breaker.role, breaker.instance);
    let crm = site.receiver.url(&breaker);
    let (database, statements) = database_url(site, role, breaker).await?;
    let mut settings = settings_of_plan(&site.slot, &site.plan)?;
    settings.extend([
        ("DATABASE_URL", database),
        ("NATS_URL", site.slot.url(role, Part::Nats)?.to_string()),
        ("NATS_STREAM", site.stream.clone()),
        ("NATS_MAX_BYTES", site.plan.stream_bytes.to_string()),
        ("NATS_ACK_WAIT", format!("{}s", ACK_WAIT.as_secs())),
        ("STARTUP_TIMEOUT", "10s".to_owned()),
        ("MAX_DELIVER", "100".to_owned()),
        ("PROGRESS_EVERY", "300ms".to_owned()),
        ("CRM_URL", crm),
        ("DELIVER_PRIVATE", "true".to_owned()),
        ("DELIVER_TIMEOUT", "500ms".to_owned()),
        ("DELIVER_LEASE", "2s".to_owned()),
        ("DELIVER_BACKOFF", "20ms".to_owned()),
    ]);
    if site.plan.dedup {
        settings.extend([
            ("REDIS_URL", site.slot.redis_url(instance)?.to_string()),
            ("REDIS_PREFIX", site.prefix.clone()),
            ("REDIS_TIMEOUT", "1s".to_owned()),
        ]);
    } else {
        settings.push(("DEDUP", "off".to_owned()));
    }
    Ok((settings, statements))
}

/// The settings that do not depend on the instance.
pub(super) fn settings_of_plan(slot: &Slot, plan: &Plan) -> anyhow::Result<Vec<Setting>> {
    let mut settings = Vec::from(slot.s3.settings());
    settings.extend([
        // Later settings override earlier ones.
        ("AWS_ENDPOINT_URL", slot.url(Role::Fetcher, Part::S3)?.to_string()),
        ("S3_PART_SIZE", plan.part_bytes.to_string()),
        ("S3_PARALLEL_PARTS", "1".to_owned()),
        ("SOURCE", sources(plan)),
        ("CHUNK_BYTES", plan.chunk_bytes.to_string()),
        ("MAX_LINE_BYTES", MAX_LINE.to_string()),
        ("PUBLISH_WINDOW", "8".to_owned()),
        ("LEASE", format!("{}s", LEASE.as_secs())),
        ("RECONCILE_AFTER", "400ms".to_owned()),
        ("WRITER_WORKERS", plan.workers.to_string()),
        ("WRITER_CHUNKS", plan.chunks_per_commit.to_string()),
    ]);
    Ok(settings)
}

/// The location of each dataset; that of products has no directory.
fn sources(plan: &Plan) -> String {
    let bucket = format!("s3://{BUCKET}-{}", plan.seed);
    let sources = plan.datasets().into_iter().map(|name| match name {
        "products" => format!("{name}={bucket}/*"),
        _ => format!("{name}={bucket}/{name}/"),
    });
    sources.collect::<Vec<String>>().join(",")
}

/// The database behind the statement proxy, which is behind the network proxy.
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
