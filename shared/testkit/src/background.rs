//! A server of a test on a thread of its own: a test that blocks, or whose runtime is busy, does not hold it up.

use std::{
    net::{self, Ipv4Addr, SocketAddr},
    thread,
};

use anyhow::Context;
use tokio::{net::TcpListener, runtime, sync::oneshot};

/// What runs until this is dropped, on a port of 127.0.0.1.
pub(crate) struct Background {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Background {
    /// Runs a future, and with it all tasks that it starts, on a free port.
    pub(crate) fn start<F: Future>(
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context("cannot listen on a port of 127.0.0.1")?;
        Self::start_on(listener, serve)
    }

    /// The same, on a port of the caller's.
    pub(crate) fn start_on<F: Future>(
        listener: net::TcpListener,
        serve: impl FnOnce(TcpListener) -> F + Send + 'static,
    ) -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            // Nothing here may block: the test may be within a runtime of its own.
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
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It panics only after a panic of its own, which the test has seen by then.
            let _ = thread.join();
        }
    }
}
