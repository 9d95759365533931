//! A TCP proxy that injects network faults: refused, stalled, slow and reset connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::background::Background;

mod connection;

/// A fault of the network. A change applies to open connections too, from their next block of bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// No fault.
    None,
    /// Open and new connections are reset.
    Refuse,
    /// Connections stay open and new ones are accepted, but no data is forwarded, not even a close. Held data is forwarded
    /// when the toxic changes, and only then are new connections made to the server.
    Stall,
    /// Latency for every block of bytes, and a bandwidth limit for each direction of a connection.
    Slow {
        /// The minimum latency.
        delay: Duration,
        /// The maximum bandwidth; zero counts as one.
        bytes_per_second: u64,
    },
}

/// The state that all connections observe.
#[derive(Clone, Copy)]
struct LinkState {
    toxic: Toxic,
    /// How often all connections were reset.
    resets: u64,
    /// The server.
    target: SocketAddr,
}

/// Counters.
#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    faults: AtomicU64,
}

impl Counts {
    fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }
}

/// A proxy on a free port, with a thread of its own. Its connections end when it is dropped.
pub struct Proxy {
    // Declared before the state, whose end would look like a reset.
    background: Background,
    state: watch::Sender<LinkState>,
    counts: Arc<Counts>,
}

impl Proxy {
    /// Starts a proxy without a toxic.
    pub fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let (state, seen) = watch::channel(LinkState { toxic: Toxic::None, resets: 0, target });
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        Ok(Self {
            background: Background::start(move |listener| serve(listener, seen, counted))?,
            state,
            counts,
        })
    }

    /// The address for clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Sets the toxic.
    pub fn set(&self, toxic: Toxic) {
        self.state.send_modify(|state| state.toxic = toxic);
    }

    /// Resets all open connections. New ones have the current toxic.
    pub fn reset_connections(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// Resets all open connections. New ones go to another server, as after a failover.
    pub fn redirect(&self, target: SocketAddr) {
        self.state.send_modify(|state| {
            state.target = target;
            state.resets += 1;
        });
    }

    /// How many connections were accepted, refused ones included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How often a fault had an effect: connections that were reset, refused or stalled, and blocks of bytes that were held
    /// or delayed.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.counts.faults.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, state: watch::Receiver<LinkState>, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                let target = state.borrow().target;
                let relaying = connection::relay(client, target, state.clone(), Arc::clone(&counts));
                connections.spawn(relaying);
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
