//! Shutdown: first soft, then hard, at the latest at the deadline.
//!
//! Soft: accept no new work, finish what is in flight. Hard: drop everything; what was not committed is redelivered. The
//! tokens are passed to the tasks; there is no global one.

use std::{io, time::Duration};

use clap::Args;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::settings;

/// The settings of the shutdown.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Lifecycle")]
pub struct LifecycleSettings {
    /// How long to wait for work in flight after SIGINT or SIGTERM; a second signal ends it at once.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "25s")]
    pub shutdown_deadline: Duration,
}

/// Signals the tasks of a process to end, and waits for them. Clones share their state.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Accept no new work. Cancelled no later than `hard`.
    pub soft: CancellationToken,
    /// Drop the work in flight.
    pub hard: CancellationToken,
    /// The tasks to wait for.
    pub tasks: TaskTracker,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A shutdown that only its tokens trigger: for tests and embedding.
    #[must_use]
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        Self { soft: hard.child_token(), hard, tasks: TaskTracker::new() }
    }

    /// A shutdown that the first SIGINT or SIGTERM triggers, and a second signal or the deadline makes hard.
    ///
    /// The deadline also applies if `soft` is cancelled by the program. To be called in a tokio runtime.
    pub fn on_signals(deadline: Duration) -> io::Result<Self> {
        let shutdown = Self::new();
        tokio::spawn(listen(Signals::new()?, shutdown.clone(), deadline));
        Ok(shutdown)
    }

    /// Runs the start of a service; an error if the shutdown begins before it has finished.
    pub fn started<T>(
        &self,
        start: impl Future<Output = anyhow::Result<T>>,
    ) -> impl Future<Output = anyhow::Result<T>> {
        // Boxed: the future of connecting to everything is large and needed once.
        let start = Box::pin(start);
        async move {
            let started = self.soft.run_until_cancelled(start).await;
            started
                .unwrap_or_else(|| Err(anyhow::anyhow!("shutdown before the start was complete")))
        }
    }

    /// Waits until every tracked task has ended or the shutdown is hard; returns whether all have ended.
    ///
    /// It cancels nothing itself: tasks end by themselves or because `soft` was cancelled.
    pub async fn drained(&self) -> bool {
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => true,
            () = self.hard.cancelled() => false,
        }
    }
}

async fn listen(mut signals: Signals, shutdown: Shutdown, deadline: Duration) {
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, deadline_ms = crate::millis(deadline), "shutdown begins, finishing work in flight"),
        () = shutdown.soft.cancelled() => {}
    }
    shutdown.soft.cancel();
    tokio::select! {
        signal = signals.next() => tracing::warn!(signal, "second signal, dropping work in flight"),
        () = tokio::time::sleep(deadline) => tracing::warn!(deadline_ms = crate::millis(deadline), "shutdown deadline exceeded, dropping work in flight"),
        () = shutdown.hard.cancelled() => {}
    }
    shutdown.hard.cancel();
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_cancels_soft_but_not_the_reverse() {
        let shutdown = Shutdown::new();
        shutdown.soft.cancel();
        assert!(!shutdown.hard.is_cancelled());

        let shutdown = Shutdown::new();
        shutdown.hard.cancel();
        assert!(shutdown.soft.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_after_the_soft_shutdown_makes_it_hard() {
        let deadline = Duration::from_secs(25);
        let shutdown = Shutdown::on_signals(deadline).unwrap();
        let begin = tokio::time::Instant::now();
        shutdown.soft.cancel();
        shutdown.hard.cancelled().await;
        assert!(begin.elapsed() >= deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn drained_waits_for_tasks_until_the_hard_shutdown() {
        let shutdown = Shutdown::new();
        let soft = shutdown.soft.clone();
        shutdown.tasks.spawn(async move { soft.cancelled().await });
        shutdown.soft.cancel();
        assert!(shutdown.drained().await);

        shutdown.tasks.spawn(std::future::pending::<()>());
        shutdown.hard.cancel();
        assert!(!shutdown.drained().await);
    }
}
