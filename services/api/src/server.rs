//! The API on a port.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use jetline_runtime::{PrometheusHandle, Shutdown};
use poem::{
    Response, Server,
    endpoint::BoxEndpoint,
    listener::{Acceptor, Listener, TcpAcceptor, TcpListener},
};
use sea_orm::DatabaseConnection;

use crate::{ApiSettings, App, auth::Users};

/// How long a connection may say nothing before it is closed.
const IDLE: Duration = Duration::from_secs(75);

/// Listens and answers until the soft shutdown; requests in flight are finished, but not beyond the hard one.
pub async fn serve(
    settings: &ApiSettings,
    db: DatabaseConnection,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    bind(settings, db, metrics, shutdown).await?.serve().await
}

/// Listens, so that the address is known; answers when [`Bound::serve`] is called.
pub async fn bind(
    settings: &ApiSettings,
    db: DatabaseConnection,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<Bound> {
    let users = settings
        .users_file
        .as_deref()
        .map(Users::read)
        .transpose()?;
    let listen = settings.listen;
    let acceptor = TcpListener::bind(listen)
        .into_acceptor()
        .await
        .with_context(|| format!("cannot listen on {listen} (LISTEN)"))?;
    let address = acceptor
        .local_addr()
        .first()
        .and_then(|address| address.as_socket_addr().copied())
        .context("the listener has no address")?;
    let app = App {
        db,
        metrics,
        users,
        shutdown: shutdown.clone(),
    };
    Ok(Bound {
        acceptor,
        address,
        app: app.endpoint(settings, &mut rand::rng()),
        shutdown,
    })
}

/// The API with its port, not serving yet.
pub struct Bound {
    acceptor: TcpAcceptor,
    address: SocketAddr,
    app: BoxEndpoint<'static, Response>,
    shutdown: Shutdown,
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the soft shutdown.
    pub async fn serve(self) -> anyhow::Result<()> {
        tracing::info!(address = %self.address, "api is served");
        let serving = Server::new_with_acceptor(self.acceptor)
            .idle_timeout(IDLE)
            .run_with_graceful_shutdown(self.app, self.shutdown.soft.cancelled(), None);
        tokio::select! {
            result = serving => result.context("cannot serve the api"),
            () = self.shutdown.hard.cancelled() => Ok(()),
        }
    }
}
