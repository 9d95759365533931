//! HTTP/1.1 on a port, with a limit on whatever a client decides: the size of a head, the time it takes, the connections.

mod connection;
mod watched;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use connection::Connections;
use poem::Endpoint;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::Shutdown;

/// After this long a connection is accepted again where none could be, most likely for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What clients are limited to.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open connections; more of them wait to be accepted.
    pub connections: usize,
    /// Bytes of a request line and its headers together; more are answered 431.
    pub header_bytes: usize,
    /// From a connection's begin, or a request's first byte, to the end of its headers; then the connection is cut.
    pub header_time: Duration,
    /// Between two requests on a connection; then it is closed. Never below `header_time`.
    pub idle_time: Duration,
    /// How long a client may take nothing of an answer; then the connection is cut.
    pub stall_time: Duration,
}

/// Listens, so that the address is known and taken; `setting` names what the address was set by.
pub async fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<Listening> {
    let bound: io::Result<_> = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Listening { listener, address })
    }
    .await;
    bound.with_context(|| format!("cannot listen on {address} ({setting})"))
}

/// A port, not serving yet.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the soft shutdown, finishes the requests in flight, and drops what is left at the hard one.
    pub async fn serve<E>(self, endpoint: E, limits: ConnectionLimits, shutdown: &Shutdown)
    where
        E: Endpoint + 'static,
    {
        let places = Arc::new(Semaphore::new(limits.connections));
        let connections = Connections::new(endpoint, limits, shutdown.clone(), self.address);
        loop {
            let next = next(&self.listener, &places);
            let Some((stream, peer, place)) = shutdown.soft.run_until_cancelled(next).await else {
                break;
            };
            connections.serve(stream, peer, place);
        }
        drop(self.listener);
        connections.ended().await;
    }
}

/// The next connection and its place. While there is no place, whoever connects waits in the system's queue.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "connection cannot be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
