//! Makes the replays that users of an api's page ask for.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use jetline_store::{ObjectLedger, objects::ReplayRequest};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{FetcherSettings, ReplaySettings, Replayed, Sources, replay};

/// Interval of looking for requests.
const INTERVAL: Duration = Duration::from_secs(1);

/// A fetcher that watches its sources, and reads what is replayed.
pub(crate) struct ReplayRequests {
    pub(crate) ledger: ObjectLedger,
    pub(crate) sources: Arc<Sources>,
    pub(crate) settings: FetcherSettings,
    /// Notified when objects are to be read.
    pub(crate) objects_registered: Arc<Notify>,
}

impl ReplayRequests {
    /// Answers requests until it is stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let run = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                if let Err(error) = self.answer().await {
                    let error = jetline_runtime::causes(&error);
                    tracing::warn!(error, "answer replay request failed");
                }
            }
        };
        stop.run_until_cancelled(run).await;
    }

    async fn answer(&self) -> Result<(), jetline_store::Error> {
        let Some(request) = self.ledger.take_replay_request().await? else { return Ok(()) };
        let replayed = self.replay(&request).await;
        let answer = replayed.map(|done| done.to_string()).map_err(|error| format!("{error:#}"));
        let (object, dry_run) = (request.object_id, request.dry_run);
        match &answer {
            Ok(_) => tracing::info!(object, dry_run, "replay request answered"),
            Err(error) => tracing::warn!(object, dry_run, error, "replay request failed"),
        }
        self.ledger.answer_replay_request(request.id, answer).await?;
        self.objects_registered.notify_waiters();
        Ok(())
    }

    async fn replay(&self, request: &ReplayRequest) -> anyhow::Result<Replayed> {
        let args = ReplaySettings {
            object: Some(request.object_id.try_into().context("there is no such object")?),
            dry_run: request.dry_run,
            ..ReplaySettings::default()
        };
        replay(&args, &self.settings, &self.sources, &self.ledger, rand::random()).await
    }
}
