//! Ctrl-C and its like: they end a command in good order, so that no server is left behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::ensure;
use rustix::process::Signal;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{self, SignalKind},
};

/// What tells a command to end.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

impl Signals {
    /// From here on, signals wait to be asked for.
    pub(crate) fn listen(runtime: &Runtime) -> anyhow::Result<Self> {
        let _runtime = runtime.enter();
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
        })
    }

    /// The next one, as it is to be passed on.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hang_up.recv() => Signal::TERM,
        }
    }
}

/// Whether a signal has come, for work that does not wait for anything.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on, a signal is noted and does not end this process.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut signals = Signals::listen(&runtime)?;
        let interrupt = Self(Arc::default());
        let noted = interrupt.clone();
        thread::spawn(move || {
            runtime.block_on(signals.next());
            noted.0.store(true, Ordering::Relaxed);
        });
        Ok(interrupt)
    }

    /// One that no signal ever reaches.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self(Arc::default())
    }

    /// An error once a signal has come.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}
