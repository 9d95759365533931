//! A TCP proxy in front of any server: a network that refuses, stalls, slows down and breaks on order.

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

/// What the network is like. It changes for open connections too, from their next block of bytes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Clear,
    /// Open connections are reset, and so are new ones at once.
    Refusing,
    /// A black hole: connections stay open and new ones are accepted, but nothing passes, not even an end. What was
    /// held passes when the weather changes, and only then do new connections reach the server.
    Stalled,
    /// Every block of bytes comes this much later, and no faster than this in each direction of a connection.
    Slow {
        /// How much later, at least.
        delay: Duration,
        /// How fast, at most; zero counts as one.
        bytes_per_second: u64,
    },
}

/// What a connection looks at.
#[derive(Clone, Copy)]
struct Sky {
    weather: Weather,
    /// How often all connections were cut.
    cuts: u64,
    /// The server behind it.
    target: SocketAddr,
}

/// What has happened so far.
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

/// A running proxy on a free port, with a thread of its own. When it is dropped its connections end.
pub struct Proxy {
    // Before the weather, whose end would look like a cut.
    background: Background,
    sky: watch::Sender<Sky>,
    counts: Arc<Counts>,
}

impl Proxy {
    /// Starts one in clear weather.
    pub fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let (sky, seen) = watch::channel(Sky {
            weather: Weather::Clear,
            cuts: 0,
            target,
        });
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        Ok(Self {
            background: Background::start(move |listener| serve(listener, seen, counted))?,
            sky,
            counts,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        self.sky.send_modify(|sky| sky.weather = weather);
    }

    /// Resets all open connections. New ones are as the weather is.
    pub fn cut(&self) {
        self.sky.send_modify(|sky| sky.cuts += 1);
    }

    /// Resets all open connections. New ones reach another server, as after a failover.
    pub fn redirect(&self, target: SocketAddr) {
        self.sky.send_modify(|sky| {
            sky.target = target;
            sky.cuts += 1;
        });
    }

    /// How many connections were accepted, refused ones included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// How often a fault has fallen on something: connections that were cut, refused, or accepted to hang, and blocks of
    /// bytes that were held or delayed.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.counts.faults.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, sky: watch::Receiver<Sky>, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                let target = sky.borrow().target;
                let relaying = connection::relay(client, target, sky.clone(), Arc::clone(&counts));
                connections.spawn(relaying);
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
