//! Replays that users of the status page start.

use std::sync::Arc;

use chrono::Utc;
use jetline_api::Replay;
use jetline_fetcher::{FetcherSettings, ReplaySettings, Sources, replay};
use jetline_runtime::StartupSettings;
use jetline_source::{IntakeStore, OwnDatabase, S3Config};
use jetline_store::{Database, Ledger};

use crate::{cli::Cli, parts::Parts};

/// Opens the sources for each replay, with the settings of the process.
pub(crate) struct Replayer {
    fetcher: FetcherSettings,
    intake: IntakeStore,
    s3: S3Config,
    startup: StartupSettings,
    own: OwnDatabase,
    database: Database,
}

impl Replayer {
    pub(crate) fn shared(cli: &Cli, parts: &Parts) -> Arc<dyn Replay> {
        Arc::new(Self {
            fetcher: parts.fetcher.clone(),
            intake: cli.intake_store.clone(),
            s3: cli.s3.clone(),
            startup: cli.startup.clone(),
            own: OwnDatabase::new(cli.database.file()),
            database: parts.database.clone(),
        })
    }
}

#[async_trait::async_trait]
impl Replay for Replayer {
    async fn replay(&self, object: u32, dry_run: bool) -> anyhow::Result<String> {
        let Self { fetcher, intake, s3, startup, own, database } = self;
        let sources = Sources::open(fetcher, intake, s3, startup, own).await?;
        let args = ReplaySettings { object: Some(object), dry_run, ..ReplaySettings::default() };
        let ledger = Ledger::new(database, Utc::now).objects;
        let replayed = replay(&args, fetcher, &sources, &ledger, rand::random()).await?;
        Ok(replayed.to_string())
    }
}
