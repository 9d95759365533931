//! Shutdown: first soft, then hard, and never later than the deadline.
//!
//! Soft: take no new work, finish what is in flight. Hard: drop everything; what was not committed is delivered again.
//! The tokens are passed to whatever runs. There is no global one.

use std::{io, time::Duration};

use clap::Args;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::settings;

/// How the process ends.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Lifecycle")]
pub struct LifecycleSettings {
    /// How long work in flight may take to finish after SIGINT or SIGTERM; a second signal ends it at once.
    #[arg(long, env, value_name = "DURATION", value_parser = settings::duration, default_value = "25s")]
    pub shutdown_deadline: Duration,
}

/// Tells the parts of a process to end, and waits for them. Clones are the same shutdown.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Stop taking work. Cancelled no later than `hard`.
    pub soft: CancellationToken,
    /// Drop the work in flight.
    pub hard: CancellationToken,
    /// Tasks that are waited for.
    pub tasks: TaskTracker,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A shutdown that nothing but its tokens starts: for tests and for embedding.
    #[must_use]
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        Self {
            soft: hard.child_token(),
            hard,
            tasks: TaskTracker::new(),
        }
    }

    /// A shutdown that the first SIGINT or SIGTERM starts, and a second one or the deadline makes hard.
    ///
    /// The deadline also counts when `soft` is cancelled from inside. To be called in a tokio runtime.
    pub fn on_signals(deadline: Duration) -> io::Result<Self> {
        let shutdown = Self::new();
        tokio::spawn(listen(Signals::new()?, shutdown.clone(), deadline));
        Ok(shutdown)
    }

    /// What the start of a service results in; an error where it is asked to end before it has started.
    pub fn started<T>(
        &self,
        start: impl Future<Output = anyhow::Result<T>>,
    ) -> impl Future<Output = anyhow::Result<T>> {
        // Connecting to everything is a large future, and needed once.
        let start = Box::pin(start);
        async move {
            let started = self.soft.run_until_cancelled(start).await;
            started.unwrap_or_else(|| Err(anyhow::anyhow!("asked to end before it had started")))
        }
    }

    /// Waits until every tracked task has ended, or the shutdown became hard; says whether all had ended.
    ///
    /// Returns only when the tasks have ended by themselves or because `soft` was cancelled: it cancels nothing.
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
        signal = signals.next() => tracing::info!(signal, ?deadline, "shutdown begins, work in flight is finished"),
        () = shutdown.soft.cancelled() => {}
    }
    shutdown.soft.cancel();
    tokio::select! {
        signal = signals.next() => tracing::warn!(signal, "second signal, work in flight is dropped"),
        () = tokio::time::sleep(deadline) => tracing::warn!(?deadline, "shutdown deadline is over, work in flight is dropped"),
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
    fn soft_alone_leaves_hard_and_hard_takes_soft_along() {
        let shutdown = Shutdown::new();
        shutdown.soft.cancel();
        assert!(!shutdown.hard.is_cancelled());

        let shutdown = Shutdown::new();
        shutdown.hard.cancel();
        assert!(shutdown.soft.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_counts_from_the_soft_shutdown_and_makes_it_hard() {
        let deadline = Duration::from_secs(25);
        let shutdown = Shutdown::on_signals(deadline).unwrap();
        let begin = tokio::time::Instant::now();
        shutdown.soft.cancel();
        shutdown.hard.cancelled().await;
        assert!(begin.elapsed() >= deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn drained_waits_for_tasks_but_not_beyond_hard() {
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
