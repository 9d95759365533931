//! An HTTP/1.1 server with limits on connections, header size and client timeouts.

mod connection;
mod timed_stream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use connection::Connections;
use poem::Endpoint;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::Shutdown;

/// The delay after a failed accept, most likely for lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// The limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Open connections; further ones wait to be accepted.
    pub connections: usize,
    /// Bytes of the request line and headers; larger requests get status 431.
    pub header_bytes: usize,
    /// From the start of a connection, or the first byte of a request, to the end of its headers; then it is disconnected.
    pub header_time: Duration,
    /// Between two requests on a connection; then it is closed. At least `header_time`.
    pub idle_time: Duration,
    /// How long a client may read nothing of a response; then it is disconnected.
    pub stall_time: Duration,
}

/// Binds the address; `setting` is its setting, for errors.
pub async fn listen(address: SocketAddr, setting: &str) -> anyhow::Result<Listening> {
    let bound: io::Result<_> = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Listening { listener, address })
    }
    .await;
    bound.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                ": another program uses it; end that one, or set another port, or 0 for any free one"
            }
            io::ErrorKind::PermissionDenied => ": ports below 1024 may need a privilege; set a higher one",
            io::ErrorKind::AddrNotAvailable => {
                ": this machine does not have the address; 0.0.0.0 stands for all that it has"
            }
            _ => "",
        };
        anyhow::Error::new(error).context(format!("cannot listen on {address} ({setting}){advice}"))
    })
}

/// A bound port that is not served yet.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the soft shutdown, then finishes requests in flight; the hard shutdown drops them.
    pub async fn serve<E>(self, endpoint: E, limits: ConnectionLimits, shutdown: &Shutdown)
    where
        E: Endpoint + 'static,
    {
        let permits = Arc::new(Semaphore::new(limits.connections));
        let connections = Connections::new(endpoint, limits, shutdown.clone(), self.address);
        loop {
            let next = next(&self.listener, &permits);
            let Some((stream, peer, permit)) = shutdown.soft.run_until_cancelled(next).await else {
                break;
            };
            connections.serve(stream, peer, permit);
        }
        drop(self.listener);
        connections.wait().await;
    }
}

/// The next connection and its permit. Without a permit, connections wait in the listen backlog.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let permit = permits.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "accept connection failed");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}
