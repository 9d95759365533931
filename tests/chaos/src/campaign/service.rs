//! Instances of the services that a run starts, crashes and starts again.

use std::sync::Arc;

use jetline_runtime::Shutdown;
use jetline_testkit::{
    postgres::statements::StatementProxy,
    process::{Process, Signal},
};
use rustix::process::Pid;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
};

use super::{
    assembly::{self, Site},
    injector::Instance,
    plan::Mode,
    ports::{Breaker, Crash},
    step::Role,
};

/// So many lines of its log are told of a program in a run that does not end.
const LAST_WORDS: usize = 12;

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
            Mode::InProcess => in_process(site, breaker)?,
            Mode::Programs | Mode::Embedded => program(site, breaker).await?,
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

fn in_process(site: &Arc<Site>, breaker: Breaker) -> anyhow::Result<Body> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (shutdown, site) = (Shutdown::new(), site.clone());
    let (tell, ended) = oneshot::channel();
    let stop = shutdown.clone();
    runtime.spawn(async move {
        let run = async {
            match breaker.role {
                Role::Fetcher => assembly::fetch(&site, breaker, &stop).await,
                Role::Writer => assembly::write(&site, breaker, &stop).await,
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

async fn program(site: &Site, breaker: Breaker) -> anyhow::Result<Body> {
    let log = format!("{}-{}.log", breaker.role.program(), breaker.instance.0);
    let (command, statements) = assembly::command(site, breaker).await?;
    Ok(Body::Program {
        process: Process::start(command, &site.folder.join(log))?,
        _statements: statements,
    })
}
