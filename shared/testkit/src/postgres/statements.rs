//! A proxy between clients and PostgreSQL that parses statements: a hook can observe or delay each one, and reset the
//! connection before it is executed or after.
//!
//! A connection is relayed one batch at a time. A batch is a simple query, or the messages up to a Sync; the next batch
//! waits until the response to this one is complete. So if a connection is reset before a statement, everything before it
//! was executed, and nothing after.
//!
//! TLS is declined. COPY is supported in simple queries, which is what sqlx uses.

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

/// What to do with a statement, or with its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pass it on.
    Pass,
    /// Reset both sides of its connection.
    Reset,
}

/// Called for the statements of all connections of a proxy, which are numbered in the order of their accept.
#[async_trait]
pub trait StatementHook: Send + Sync + 'static {
    /// Called for each statement of a batch before any of the batch is sent to the server. The batch waits until this
    /// returns, even if the client disconnects meanwhile. After a reset here the statement is never executed.
    async fn before(&self, connection: u64, sql: &str) -> Action;

    /// Called for each statement of a batch when the server's response to the batch is complete (`ReadyForQuery`). The
    /// client has received none of it yet, except after a Flush or during a COPY. After a reset here the statement was
    /// executed and its reply is lost. Not called if the connection breaks.
    async fn after(&self, connection: u64, sql: &str) -> Action;
}

/// A proxy on a free port of 127.0.0.1, run by the runtime that started it. Its connections are closed when it is
/// dropped.
pub struct StatementProxy {
    address: SocketAddr,
    serving: AbortHandle,
}

impl StatementProxy {
    /// Starts one in front of a server.
    pub async fn start(server: SocketAddr, watch: Arc<dyn StatementHook>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on a port of 127.0.0.1")?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(serve(listener, server, watch)).abort_handle();
        Ok(Self { address, serving })
    }

    /// The address for clients.
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
async fn serve(listener: TcpListener, server: SocketAddr, watch: Arc<dyn StatementHook>) {
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

async fn connect(
    number: u64,
    client: TcpStream,
    server: SocketAddr,
    watch: Arc<dyn StatementHook>,
) {
    let Ok(server) = TcpStream::connect(server).await else {
        // The client sees what it would see of the server: no connection.
        let _ = client.set_zero_linger();
        return;
    };
    relay::run(number, Peer::new(client), Peer::new(server), &*watch).await;
}
