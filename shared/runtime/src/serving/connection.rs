//! One connection: requests in, answers out.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc};

use http_body_util::combinators::BoxBody;
use hyper::{
    Request,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Addr, Endpoint,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit};
use tokio_util::task::TaskTracker;

use super::{
    ConnectionLimits,
    watched::{Turns, Watched},
};
use crate::Shutdown;

/// The smallest buffer that the HTTP library works with.
const LEAST_BUFFER: usize = 8192;

type Body = BoxBody<Bytes, io::Error>;

/// The open connections, all answered by one endpoint.
pub(super) struct Connections<E> {
    endpoint: Arc<E>,
    limits: ConnectionLimits,
    shutdown: Shutdown,
    local: SocketAddr,
    tasks: TaskTracker,
}

impl<E: Endpoint + 'static> Connections<E> {
    pub(super) fn new(
        endpoint: E,
        limits: ConnectionLimits,
        shutdown: Shutdown,
        local: SocketAddr,
    ) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            limits,
            shutdown,
            local,
            tasks: TaskTracker::new(),
        }
    }

    /// Answers a connection in a task of its own, which holds its place.
    pub(super) fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let turns = Turns::default();
        let service = service(self.endpoint.clone(), turns.clone(), self.local, peer);
        let (limits, shutdown) = (self.limits, self.shutdown.clone());
        self.tasks.spawn(async move {
            let _place = place;
            // Answers are written at once; waiting for more of them only costs time. An error shows in the next read.
            let _ = stream.set_nodelay(true);
            let stream = TokioIo::new(Watched::new(stream, turns, &limits));
            let connection = builder(&limits).serve_connection(stream, service);
            let answered = async {
                let mut connection = pin!(connection);
                // An error is a client that went away, broke the protocol or a limit: there is nobody to tell.
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = shutdown.soft.cancelled() => connection.as_mut().graceful_shutdown(),
                }
                let _ = connection.await;
            };
            shutdown.hard.run_until_cancelled(answered).await;
        });
    }

    /// Waits until all connections have ended.
    pub(super) async fn ended(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn builder(limits: &ConnectionLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Counts from the end of the answer before: it is the limit of idleness. That of a head is kept by `Watched`.
        .header_read_timeout(limits.idle_time)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(LEAST_BUFFER));
    builder
}

fn service<E: Endpoint + 'static>(
    endpoint: Arc<E>,
    turns: Turns,
    local: SocketAddr,
    peer: SocketAddr,
) -> impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let endpoint = endpoint.clone();
        let turn = turns.begin();
        let local = LocalAddr(Addr::SocketAddr(local));
        let peer = RemoteAddr(Addr::SocketAddr(peer));
        async move {
            let request = poem::Request::from((request, local, peer, Scheme::HTTP));
            let response = endpoint.get_response(request).await;
            drop(turn);
            Ok::<_, Infallible>(response.into())
        }
    })
}
