//! Health and metrics from the start: alive at once, ready once connected and while the database answers.

use std::sync::{Arc, OnceLock};

use jetline_runtime::{ObserveSettings, PrometheusHandle, Shutdown, observe};
use sea_orm::DatabaseConnection;

/// Health and metrics of a process, served in the background if `OBSERVE_LISTEN` is set.
pub struct Observation {
    database: Arc<OnceLock<DatabaseConnection>>,
}

impl Observation {
    /// Starts to serve, before anything is connected.
    pub async fn start(
        settings: &ObserveSettings,
        metrics: PrometheusHandle,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let database = Arc::new(OnceLock::new());
        if let Some(listen) = settings.observe_listen {
            let bound = observe::bind(listen).await?;
            let watched = database.clone();
            let ready = move || ready(watched.clone());
            tokio::spawn(bound.serve(ready, metrics, shutdown.clone()));
        }
        Ok(Self { database })
    }

    /// Marks the process as connected: from now on it is ready while its database answers.
    pub fn connected(&self, database: DatabaseConnection) {
        // Only the first call counts: a process connects once.
        self.database.get_or_init(|| database);
    }
}

async fn ready(database: Arc<OnceLock<DatabaseConnection>>) -> Result<(), String> {
    let database = database.get().ok_or("starting: not connected yet")?;
    database.ping().await.map_err(|error| error.to_string())
}
