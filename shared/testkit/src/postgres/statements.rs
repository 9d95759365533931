//! A proxy between clients and PostgreSQL that knows statements: each can be watched, held, and cut off just before it
//! is executed or just after it was.
//!
//! A connection is relayed one batch at a time. A batch is a simple query, or the messages up to a Sync; the next one,
//! should the client have sent it already, waits until this one is answered. So a connection that is cut before a
//! statement has executed everything before it, and nothing from it on.
//!
//! It speaks without TLS whatever the server could do. COPY passes in simple queries, which is how sqlx asks for it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use async_trait::async_trait;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

mod batch;
mod protocol;
mod relay;

use protocol::Peer;

/// What becomes of a statement, or of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// Both halves of its connection are reset.
    Cut,
}

/// Who watches the statements of all connections of a proxy, which are numbered as they come.
#[async_trait]
pub trait Watch: Send + Sync + 'static {
    /// Called for each statement of a batch before any of the batch is sent to the server, which is held until this
    /// returns, even if the client has gone meanwhile. What is cut here is never executed.
    async fn before(&self, connection: u64, sql: &str) -> Fate;

    /// Called for each statement of a batch when the server's whole answer to the batch has come, its last word being
    /// that it is ready again. The client has seen none of it yet, unless it asked for it by Flush or the answer is a
    /// COPY. What is cut here is the lost reply to something that did happen. Not called when the connection breaks.
    async fn after(&self, connection: u64, sql: &str) -> Fate;
}

/// A proxy on a free port of 127.0.0.1, run by the runtime that started it. Its connections are closed when it is
/// dropped.
pub struct StatementProxy {
    address: SocketAddr,
    serving: AbortHandle,
}

impl StatementProxy {
    /// Starts one in front of a server.
    pub async fn start(server: SocketAddr, watch: Arc<dyn Watch>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on a port of 127.0.0.1")?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, server, watch)).abort_handle();
        Ok(Self { address, serving })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for StatementProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The connections end with this future, which owns them.
async fn serve(listener: TcpListener, server: SocketAddr, watch: Arc<dyn Watch>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                number += 1;
                connections.spawn(connect(number, client, server, Arc::clone(&watch)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(number: u64, client: TcpStream, server: SocketAddr, watch: Arc<dyn Watch>) {
    let Ok(server) = TcpStream::connect(server).await else {
        // The client sees what it would see of the server: nobody is there.
        let _ = client.set_zero_linger();
        return;
    };
    relay::run(number, Peer::new(client), Peer::new(server), &*watch).await;
}
