//! Serves one connection.

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
    timed_stream::{RequestPhase, TimedStream},
};
use crate::Shutdown;

/// The smallest buffer that the HTTP library accepts.
const MIN_BUFFER_BYTES: usize = 8192;

type Body = BoxBody<Bytes, io::Error>;

/// The open connections, all served by one endpoint.
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
        Self { endpoint: Arc::new(endpoint), limits, shutdown, local, tasks: TaskTracker::new() }
    }

    /// Serves a connection in a task of its own, which holds its permit.
    pub(super) fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let phase = RequestPhase::default();
        let service = service(self.endpoint.clone(), phase.clone(), self.local, peer);
        let (limits, shutdown) = (self.limits, self.shutdown.clone());
        self.tasks.spawn(async move {
            let _permit = permit;
            // Responses are written at once, so that Nagle's algorithm only delays them. An error shows in the next read.
            let _ = stream.set_nodelay(true);
            let stream = TokioIo::new(TimedStream::new(stream, phase, &limits));
            let connection = builder(&limits).serve_connection(stream, service);
            let answered = async {
                let mut connection = pin!(connection);
                // An error means that the client disconnected, or broke the protocol or a limit: nothing to report.
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
    pub(super) async fn wait(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn builder(limits: &ConnectionLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Measured from the end of the last response: this is the idle timeout. `TimedStream` has that of the headers.
        .header_read_timeout(limits.idle_time)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(MIN_BUFFER_BYTES));
    builder
}

fn service<E: Endpoint + 'static>(
    endpoint: Arc<E>,
    phase: RequestPhase,
    local: SocketAddr,
    peer: SocketAddr,
) -> impl HttpService<Incoming, ResBody = Body, Error = Infallible, Future: Send> {
    service_fn(move |request: Request<Incoming>| {
        let endpoint = endpoint.clone();
        let guard = phase.begin();
        let local = LocalAddr(Addr::SocketAddr(local));
        let peer = RemoteAddr(Addr::SocketAddr(peer));
        async move {
            let request = poem::Request::from((request, local, peer, Scheme::HTTP));
            let response = endpoint.get_response(request).await;
            drop(guard);
            Ok::<_, Infallible>(response.into())
        }
    })
}
