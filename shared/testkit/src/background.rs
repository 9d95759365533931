//! Runs a test's server on a thread of its own, so that a blocking test or a busy runtime does not delay it.

use std::{
    net::{self, Ipv4Addr, SocketAddr},
    thread,
};

use anyhow::Context;
use tokio::{net::TcpListener, runtime, sync::oneshot};

/// A server on a port of 127.0.0.1, which runs until this is dropped.
pub struct Background {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Background {
    /// Runs a future and the tasks that it spawns, on a free port.
    pub fn start<F: Future>(
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("cannot listen on a port of 127.0.0.1")?;
        Self::start_on(listener, serve)
    }

    /// Like `start`, on a given port.
    pub(crate) fn start_on<F: Future>(
        listener: net::TcpListener,
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            // Must not block: the test may be within a runtime of its own.
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = serve(listener) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // An error means that the thread panicked, which the test has seen.
            let _ = thread.join();
        }
    }
}
