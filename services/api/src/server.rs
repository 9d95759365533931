//! The API on a port.

use std::net::SocketAddr;

use jetline_runtime::{
    ConnectionLimits, PrometheusHandle, Shutdown,
    serving::{self, Listening},
};
use poem::{Response, endpoint::BoxEndpoint};
use sea_orm::DatabaseConnection;

use crate::{ApiSettings, App, auth::Users};

/// Listens and answers until the soft shutdown; requests in flight are finished, but not beyond the hard one.
pub async fn serve(
    settings: &ApiSettings,
    db: DatabaseConnection,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    bind(settings, db, metrics, shutdown).await?.serve().await;
    Ok(())
}

/// Listens, so that the address is known; answers when [`Bound::serve`] is called.
pub async fn bind(
    settings: &ApiSettings,
    db: DatabaseConnection,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<Bound> {
    let limits = settings.connection_limits()?;
    let users = settings
        .users_file
        .as_deref()
        .map(Users::read)
        .transpose()?;
    let listening = serving::listen(settings.listen, "LISTEN").await?;
    let app = App {
        db,
        metrics,
        users,
        shutdown: shutdown.clone(),
    };
    Ok(Bound {
        listening,
        limits,
        app: app.endpoint(settings, &mut rand::rng()),
        shutdown,
    })
}

/// The API with its port, not serving yet.
pub struct Bound {
    listening: Listening,
    limits: ConnectionLimits,
    app: BoxEndpoint<'static, Response>,
    shutdown: Shutdown,
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// Answers until the soft shutdown.
    pub async fn serve(self) {
        tracing::info!(address = %self.address(), "api is served");
        self.listening
            .serve(self.app, self.limits, &self.shutdown)
            .await;
    }
}
