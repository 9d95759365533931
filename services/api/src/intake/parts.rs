//! What the intake needs of the installation, and its settings.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use jetline_datasets::RedactionKey;
use jetline_queue::{JetStreamConfig, Subject, Wakeup};
use jetline_runtime::{StartupSettings, settings};
use jetline_source::{IntakeStore, ObjectStore, S3Config};
use jetline_store::Database;

use super::memory::LONG_BYTES;
use crate::ApiSettings;

/// Room for a long body, and short ones.
const MIN_MEMORY: usize = LONG_BYTES + (12 << 20);

/// How long is waited between two attempts to connect to the queue.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Who may post records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum IntakeMode {
    /// Users and API keys with the role `write`.
    #[default]
    Users,
    /// Everybody who reaches the api, which must listen on a loopback address.
    Open,
    /// Nobody.
    Off,
}

/// Who may post records, and how much.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Intake")]
pub struct IntakeSettings {
    /// Who may post records: users and API keys with the role `write`; everybody, only on a loopback address; or nobody
    #[arg(long, env, value_enum, default_value_t)]
    pub intake: IntakeMode,

    /// Maximum size of the records that are posted at once, decompressed
    #[arg(long, env, value_name = "BYTES", value_parser = settings::bytes, default_value = "5GiB")]
    pub intake_max_bytes: u64,

    /// Memory for records that are being posted, of all clients together
    #[arg(long, env, value_name = "BYTES", value_parser = memory, default_value = "64MiB")]
    pub intake_memory: usize,
}

/// Where posted records go.
pub struct IntakeParts {
    /// Where objects are written.
    pub store: Arc<dyn ObjectStore>,
    /// The database itself, not a replica.
    pub database: Database,
    /// Wakes the fetchers.
    pub wakeup: ObjectsWakeup,
    /// The key by which values of redacted columns are hashed.
    pub redact_key: Option<RedactionKey>,
}

impl IntakeParts {
    /// Opens the store; none where nobody may post, or there is no store.
    pub async fn open(
        api: &ApiSettings,
        store: &IntakeStore,
        s3: &S3Config,
        database: impl Future<Output = anyhow::Result<Database>>,
        wakeup: ObjectsWakeup,
        redact_key: Option<RedactionKey>,
    ) -> anyhow::Result<Option<Self>> {
        if !api.takes_records() {
            return Ok(None);
        }
        let Some(location) = &store.intake_store else {
            ensure!(
                api.intake.intake != IntakeMode::Open,
                "INTAKE=open needs INTAKE_STORE: where posted records are written, as in s3://bucket/intake/ or ./intake"
            );
            return Ok(None);
        };
        let opened = jetline_source::open_store(location, s3).await;
        let store = opened.with_context(|| format!("cannot open {location} (INTAKE_STORE)"))?;
        Ok(Some(Self { store, database: database.await?, wakeup, redact_key }))
    }
}

/// Notifications of fetchers, once there is a connection: without one they look by themselves, twice a second.
#[derive(Clone, Default)]
pub struct ObjectsWakeup(Arc<OnceLock<Wakeup>>);

impl ObjectsWakeup {
    /// There is a connection.
    pub fn set(&self, wakeup: Wakeup) {
        // It is set once.
        let _ = self.0.set(wakeup);
    }

    /// Connects, and tries again until that succeeds. Never returns.
    pub(crate) async fn connect(
        &self,
        queue: &JetStreamConfig,
        startup: &StartupSettings,
    ) -> Infallible {
        loop {
            match queue.connect_wakeup(startup, Subject::Objects).await {
                Ok(wakeup) => {
                    self.set(wakeup);
                    std::future::pending::<()>().await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = jetline_runtime::causes(&*error),
                        "connect to queue failed, retrying"
                    );
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }

    pub(super) async fn notify(&self) {
        if let Some(wakeup) = self.0.get() {
            wakeup.notify().await;
        }
    }
}

/// Refuses a memory in which no long body fits.
fn memory(text: &str) -> Result<usize, String> {
    let bytes = usize::try_from(settings::bytes(text)?).map_err(|error| error.to_string())?;
    if bytes < MIN_MEMORY {
        return Err(format!(
            "must be at least {}MiB, of which a long body takes 20",
            MIN_MEMORY >> 20
        ));
    }
    Ok(bytes)
}
