//! Replays by a fetcher: an api does not reach the sources.

use std::time::Duration;

use anyhow::bail;
use async_trait::async_trait;
use chrono::Utc;
use jetline_store::{Database, Ledger, objects::ReplayRequest};
use tokio::time::{Instant, sleep};

use super::Replay;

/// Interval of asking for the answer.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Asks the fetchers that watch their sources, through the database.
pub struct RequestedReplay {
    /// The database itself, not a replica.
    pub database: Database,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

#[async_trait]
impl Replay for RequestedReplay {
    async fn replay(&self, object: u32, dry_run: bool) -> anyhow::Result<String> {
        let ledger = Ledger::new(&self.database, Utc::now).objects;
        let request = ReplayRequest { id: rand::random(), object_id: object.into(), dry_run };
        ledger.request_replay(&request, self.timeout).await?;
        let until = Instant::now() + self.timeout;
        while Instant::now() < until {
            sleep(POLL_INTERVAL).await;
            if let Some(answer) = ledger.replay_answer(request.id).await? {
                return answer.map_err(anyhow::Error::msg);
            }
        }
        if ledger.withdraw_replay_request(request.id).await? {
            bail!(
                "no fetcher that watches its sources (WATCH) answered within {:?}: start one, or run `jetline-fetcher replay --object \
                 {object}` with the settings of the fetcher",
                self.timeout
            );
        }
        bail!(
            "a fetcher has begun it and did not answer within {:?}: look at the object later",
            self.timeout
        )
    }
}
