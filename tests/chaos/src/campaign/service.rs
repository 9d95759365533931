//! Instances of services that a run starts, crashes and restarts.

use std::sync::Arc;

use jetline_runtime::Shutdown;
use jetline_testkit::{
    installation::Installation,
    postgres::statements::StatementProxy,
    process::{Process, Signal},
    programs,
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

/// How an instance ended.
#[derive(Debug)]
pub(crate) enum End {
    /// A fault crashed it.
    Crashed,
    /// It ended successfully.
    Well,
    /// It ended with an error.
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
        let breaker =
            Breaker { role, injector: site.injector.clone(), instance, crash: Crash(crash) };
        let body = match site.plan.mode {
            Mode::InProcess => in_process(site, breaker)?,
            Mode::Programs | Mode::Embedded => program(site, breaker).await?,
        };
        Ok(Self { role, instance, crashed, killed: false, body })
    }

    /// How it ended, if it has. Executes a requested crash.
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

    /// Crashes it: its memory is lost.
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

    /// Begins its shutdown.
    pub(crate) fn stop(&self) {
        match &self.body {
            Body::InProcess { shutdown, .. } => shutdown.soft.cancel(),
            Body::Program { process, .. } => process.signal(Signal::TERM),
        }
    }

    /// Its process id, if it is a process.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match &self.body {
            Body::InProcess { .. } => None,
            Body::Program { process, .. } => {
                i32::try_from(process.id()).ok().and_then(Pid::from_raw)
            }
        }
    }

    /// The last lines of its log, if it is a process.
    pub(crate) fn end_of_log(&self) -> Option<String> {
        match &self.body {
            Body::InProcess { .. } => None,
            Body::Program { process, .. } => Some(process.end_of_log()),
        }
    }

    /// Sends it a signal, if it is a process.
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
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (shutdown, site) = (Shutdown::new(), site.clone());
    let (sender, ended) = oneshot::channel();
    let stop = shutdown.clone();
    runtime.spawn(async move {
        let run = async {
            match breaker.role {
                Role::Fetcher => assembly::fetch(&site, breaker, &stop).await,
                Role::Writer => assembly::write(&site, breaker, &stop).await,
                Role::Courier => assembly::deliver(&site, breaker, &stop).await,
            }
        };
        let end = run.await.map_err(|error| format!("{error:#}"));
        // The receiver is dropped when the run has ended.
        let _ = sender.send(end);
    });
    Ok(Body::InProcess { runtime: Some(runtime), shutdown, ended })
}

async fn program(site: &Site, breaker: Breaker) -> anyhow::Result<Body> {
    let program = format!("jetline-{}", breaker.role.name());
    let (settings, statements) = assembly::settings(site, breaker).await?;
    let installation = Installation::new(&programs::directory()?, &site.folder, settings);
    Ok(Body::Program { process: installation.start(&program, &[])?, _statements: statements })
}
