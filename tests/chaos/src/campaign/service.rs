//! Instances of the services that a run starts, crashes and starts again.

use std::{num::NonZeroUsize, path::PathBuf, process::Command, sync::Arc, time::Duration};

use anyhow::Context;
use jetline_dedup::{Dedup, Redis, RedisConfig, WithoutStore};
use jetline_fetcher::{FetcherSettings, Sources};
use jetline_oracle::MAX_LINE;
use jetline_queue::{JetStream, JetStreamConfig, Queue};
use jetline_runtime::{Shutdown, StartupSettings};
use jetline_source::{S3Access, S3Config};
use jetline_store::{Ledger, connect};
use jetline_testkit::{
    postgres::statements::StatementProxy,
    process::{Process, Signal},
};
use jetline_writer::WriterSettings;
use rustix::process::Pid;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
};

use crate::programs;

use super::{
    fault::Part,
    injector::{Injector, Instance},
    lane::Lane,
    plan::{Mode, Plan},
    ports::{Breaker, BrokenDedup, BrokenQueue, BrokenSource, Crash},
    statements::BrokenDatabase,
    step::Role,
};

pub(crate) const BUCKET: &str = "bucket";

/// The acknowledgement wait of all runs: a crashed writer's chunks come again after it.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(1);

/// So many lines of its log are told of a program in a run that does not end.
const LAST_WORDS: usize = 12;

/// What all instances of a run have in common.
pub(crate) struct Site {
    pub(crate) lane: Arc<Lane>,
    pub(crate) plan: Plan,
    pub(crate) injector: Injector,
    pub(crate) database: String,
    pub(crate) stream: String,
    pub(crate) prefix: String,
    pub(crate) folder: PathBuf,
}

/// A running instance.
pub(crate) struct Service {
    pub(crate) role: Role,
    pub(crate) instance: Instance,
    crashed: mpsc::Receiver<()>,
    killed: bool,
    body: Body,
}

enum Body {
    InProcess {
        runtime: Option<Runtime>,
        shutdown: Shutdown,
        ended: oneshot::Receiver<Result<(), String>>,
    },
    Program {
        process: Process,
        _statements: StatementProxy,
    },
}

/// What an instance has come to.
#[derive(Debug)]
pub(crate) enum End {
    /// A fault took it away.
    Crashed,
    /// It ended by itself, and all is well.
    Well,
    /// It ended by itself with an error.
    Failed(String),
}

impl Service {
    /// Starts one.
    pub(crate) async fn start(
        site: &Arc<Site>,
        role: Role,
        instance: Instance,
    ) -> anyhow::Result<Self> {
        let (crash, crashed) = mpsc::channel(1);
        let breaker = Breaker {
            role,
            injector: site.injector.clone(),
            instance,
            crash: Crash(crash),
        };
        let body = match site.plan.mode {
            Mode::InProcess => in_process(site, role, breaker)?,
            Mode::Programs => program(site, role, breaker).await?,
        };
        Ok(Self {
            role,
            instance,
            crashed,
            killed: false,
            body,
        })
    }

    /// How it ended, if it has. One that is to crash, crashes here.
    pub(crate) fn end(&mut self) -> anyhow::Result<Option<End>> {
        if self.killed || self.crashed.try_recv().is_ok() {
            self.crash();
            return Ok(Some(End::Crashed));
        }
        match &mut self.body {
            Body::InProcess { ended, .. } => Ok(match ended.try_recv() {
                Ok(Ok(())) => Some(End::Well),
                Ok(Err(error)) => Some(End::Failed(error)),
                Err(oneshot::error::TryRecvError::Closed) => {
                    Some(End::Failed("it panicked".to_owned()))
                }
                Err(oneshot::error::TryRecvError::Empty) => None,
            }),
            Body::Program { process, .. } => Ok(process.try_wait()?.map(|status| {
                let output = process.output();
                if output.contains("panicked") || !status.success() {
                    End::Failed(format!("{status}: {output}"))
                } else {
                    End::Well
                }
            })),
        }
    }

    /// Takes everything away that it has in memory.
    pub(crate) fn crash(&mut self) {
        self.killed = true;
        match &mut self.body {
            Body::InProcess { runtime, .. } => {
                if let Some(runtime) = runtime.take() {
                    runtime.shutdown_background();
                }
            }
            Body::Program { process, .. } => process.kill(),
        }
    }

    /// Asks it to end.
    pub(crate) fn stop(&self) {
        match &self.body {
            Body::InProcess { shutdown, .. } => shutdown.soft.cancel(),
            Body::Program { process, .. } => process.signal(Signal::TERM),
        }
    }

    /// Its process, where it is one of its own.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match &self.body {
            Body::InProcess { .. } => None,
            Body::Program { process, .. } => {
                i32::try_from(process.id()).ok().and_then(Pid::from_raw)
            }
        }
    }

    /// The last that it has logged, where it is a process.
    pub(crate) fn last_words(&self) -> Vec<String> {
        let Body::Program { process, .. } = &self.body else {
            return Vec::new();
        };
        let output = process.output();
        let lines: Vec<&str> = output.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
        last.iter().map(|line| (*line).to_owned()).collect()
    }

    /// Sends its process a signal, where it is one.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Body::Program { process, .. } = &self.body {
            process.signal(signal);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.crash();
    }
}

fn in_process(site: &Arc<Site>, role: Role, breaker: Breaker) -> anyhow::Result<Body> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (shutdown, site) = (Shutdown::new(), site.clone());
    let (tell, ended) = oneshot::channel();
    let stop = shutdown.clone();
    runtime.spawn(async move {
        let run = async {
            match role {
                Role::Fetcher => fetch(&site, breaker, &stop).await,
                Role::Writer => write(&site, breaker, &stop).await,
            }
        };
        let end = run.await.map_err(|error| format!("{error:#}"));
        // Nobody listens any more when the run is over.
        let _ = tell.send(end);
    });
    Ok(Body::InProcess {
        runtime: Some(runtime),
        shutdown,
        ended,
    })
}

async fn fetch(site: &Site, breaker: Breaker, shutdown: &Shutdown) -> anyhow::Result<()> {
    let settings = fetcher_settings(&site.plan)?;
    let startup = StartupSettings {
        startup_patience: Duration::from_secs(10),
    };
    let s3 = S3Config {
        s3_part_size: site.plan.part_bytes,
        s3_parallel_parts: NonZeroUsize::MIN,
        access: Some(S3Access {
            endpoint_url: site.lane.url(Role::Fetcher, Part::S3)?.to_string(),
            access_key_id: site.lane.s3.access_key().to_owned(),
            secret_access_key: site.lane.s3.secret_key().to_owned(),
        }),
    };
    let sources = Sources::open(&settings, &s3, &startup).await?;
    let sources = sources.map(|inner| {
        Arc::new(BrokenSource {
            inner,
            breaker: breaker.clone(),
        })
    });
    let queue = queue(site, Role::Fetcher, breaker.clone()).await?;
    let (ledger, _proxy) = ledger(site, Role::Fetcher, breaker.clone()).await?;
    let seed = site.plan.seed ^ (breaker.instance.0 as u64 + 1) << 32;
    jetline_fetcher::run(&settings, sources, queue, ledger, seed, shutdown).await?;
    Ok(())
}

async fn write(site: &Site, breaker: Breaker, shutdown: &Shutdown) -> anyhow::Result<()> {
    let settings = WriterSettings {
        writer_workers: size(site.plan.workers)?,
        writer_chunks: size(site.plan.chunks_per_commit)?,
        max_deliver: 100,
        progress_every: Duration::from_millis(300),
    };
    let queue = queue(site, Role::Writer, breaker.clone()).await?;
    let (ledger, _proxy) = ledger(site, Role::Writer, breaker.clone()).await?;
    let inner: Arc<dyn Dedup> = if site.plan.dedup {
        let config = RedisConfig {
            redis_prefix: site.prefix.clone(),
            redis_timeout: Duration::from_secs(1),
            ..RedisConfig::default()
        };
        let url = site.lane.url(Role::Writer, Part::Redis)?;
        Arc::new(Redis::connect(&url, &config).await?)
    } else {
        Arc::new(WithoutStore::off())
    };
    let seed = site.plan.seed ^ (breaker.instance.0 as u64 + 1) << 32;
    let dedup = Arc::new(BrokenDedup { inner, breaker });
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

fn fetcher_flags(plan: &Plan) -> [(&'static str, String); 6] {
    [
        ("SOURCE", format!("s3://{BUCKET}-{}", plan.seed)),
        ("CHUNK_BYTES", plan.chunk_bytes.to_string()),
        ("MAX_LINE_BYTES", MAX_LINE.to_string()),
        ("PUBLISH_WINDOW", "8".to_owned()),
        ("LEASE", "1s".to_owned()),
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
    let url = site.lane.url(role, Part::Nats)?;
    let inner = Arc::new(JetStream::connect(&url, &config).await?);
    Ok(Arc::new(BrokenQueue { inner, breaker }))
}

/// The ledger behind a proxy for its statements, and that behind the network.
async fn ledger(
    site: &Site,
    role: Role,
    breaker: Breaker,
) -> anyhow::Result<(Ledger, StatementProxy)> {
    let (url, proxy) = database(site, role, breaker).await?;
    Ok((
        Ledger::new(connect(&url, 6).await?, chrono::Utc::now),
        proxy,
    ))
}

async fn database(
    site: &Site,
    role: Role,
    breaker: Breaker,
) -> anyhow::Result<(String, StatementProxy)> {
    let server = site.lane.address(role, Part::Postgres);
    let proxy = StatementProxy::start(server, Arc::new(BrokenDatabase::new(breaker))).await?;
    let mut url: url::Url = site.lane.database(&site.database).parse()?;
    let port = Some(proxy.address().port());
    url.set_port(port).ok().context("a URL without a port")?;
    Ok((url.into(), proxy))
}

async fn program(site: &Site, role: Role, breaker: Breaker) -> anyhow::Result<Body> {
    let instance = breaker.instance;
    let (database, statements) = database(site, role, breaker).await?;
    let name = match role {
        Role::Fetcher => "jetline-fetcher",
        Role::Writer => "jetline-writer",
    };
    let mut command = Command::new(programs::find(name)?);
    command.env_clear().current_dir(&site.folder);
    command.envs(fetcher_flags(&site.plan));
    let plan = &site.plan;
    command.envs([
        ("DATABASE_URL", database),
        ("NATS_URL", site.lane.url(role, Part::Nats)?.to_string()),
        ("NATS_STREAM", site.stream.clone()),
        ("NATS_MAX_BYTES", plan.stream_bytes.to_string()),
        ("NATS_ACK_WAIT", format!("{}s", ACK_WAIT.as_secs())),
        ("STARTUP_PATIENCE", "10s".to_owned()),
    ]);
    match role {
        Role::Fetcher => command.envs([
            (
                "AWS_ENDPOINT_URL",
                site.lane.url(role, Part::S3)?.to_string(),
            ),
            ("AWS_ACCESS_KEY_ID", site.lane.s3.access_key().to_owned()),
            (
                "AWS_SECRET_ACCESS_KEY",
                site.lane.s3.secret_key().to_owned(),
            ),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("S3_PART_SIZE", plan.part_bytes.to_string()),
            ("S3_PARALLEL_PARTS", "1".to_owned()),
        ]),
        Role::Writer if !plan.dedup => command.env("DEDUP", "off"),
        Role::Writer => command.envs([
            ("REDIS_URL", site.lane.url(role, Part::Redis)?.to_string()),
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
    let log = site.folder.join(format!("{name}-{}.log", instance.0));
    Ok(Body::Program {
        process: Process::start(command, &log)?,
        _statements: statements,
    })
}

fn size(number: usize) -> anyhow::Result<NonZeroUsize> {
    NonZeroUsize::new(number).context("a plan with nobody")
}
