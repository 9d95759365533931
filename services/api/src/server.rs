//! Serves the API on a port.

use std::net::SocketAddr;

use jetline_runtime::{
    ConnectionLimits, PrometheusHandle, Shutdown,
    serving::{self, Listening},
};
use jetline_store::Database;
use poem::{Response, endpoint::BoxEndpoint};

use crate::{ApiSettings, App, Changes, auth::Users};

/// Listens and serves until the soft shutdown; requests in flight are finished, but not beyond the hard one.
pub async fn serve(
    settings: &ApiSettings,
    database: &Database,
    changes: Changes,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    bind(settings, database, changes, metrics, shutdown).await?.serve().await;
    Ok(())
}

/// Listens, so that the address is known; serves when [`BoundServer::serve`] is called.
pub async fn bind(
    settings: &ApiSettings,
    database: &Database,
    changes: Changes,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<BoundServer> {
    settings.check_intake()?;
    let limits = settings.connection_limits()?;
    let users = settings.users_file.as_deref().map(Users::read).transpose()?;
    let listening = serving::listen(settings.listen, "LISTEN").await?;
    let shutdown_of_app = shutdown.clone();
    let app =
        App { database: database.clone(), changes, metrics, users, shutdown: shutdown_of_app };
    Ok(BoundServer { listening, limits, app: app.endpoint(settings, &mut rand::rng()), shutdown })
}

/// The API on its port, not serving yet.
pub struct BoundServer {
    listening: Listening,
    limits: ConnectionLimits,
    app: BoxEndpoint<'static, Response>,
    shutdown: Shutdown,
}

impl BoundServer {
    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// Serves until the soft shutdown.
    pub async fn serve(self) {
        tracing::info!(address = %self.address(), "api listening");
        self.listening.serve(self.app, self.limits, &self.shutdown).await;
    }
}
