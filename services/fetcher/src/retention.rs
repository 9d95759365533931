//! Removes what is kept for a limited time: at the end of a run, and every hour of one that watches.

use std::{collections::HashSet, fmt, str::FromStr, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use jetline_core::ObjectId;
use jetline_datasets::Datasets;
use jetline_runtime::{
    metrics::{TABLE_BYTES, as_f64},
    settings,
};
use jetline_store::{ObjectLedger, objects::ExistingVersion};
use tokio_util::sync::CancellationToken;

use crate::{
    FetcherSettings,
    sources::{RegisterError, Sources},
};

const INTERVAL: Duration = Duration::from_hours(1);

/// How often the sizes of tables are read.
const MEASURE_INTERVAL: Duration = Duration::from_mins(1);

/// How many versions that are not listed are looked up at a time; each is a request.
const MAX_LOOKUPS: usize = 10_000;

/// How long something is kept: a time such as `30d`, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So long.
    For(Duration),
    /// It is not removed.
    Forever,
}

impl Keep {
    /// What ended before this time is removed.
    fn cutoff(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::For(time) => now.checked_sub_signed(TimeDelta::from_std(time).ok()?),
            Self::Forever => None,
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let time = settings::duration(text);
        time.map(Self::For).map_err(|error| format!("{error}; or write forever"))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(time) => write!(f, "{time:?}"),
            Self::Forever => f.write_str("forever"),
        }
    }
}

/// Removes what is older than it is to be kept.
pub(crate) struct Retention {
    ledger: ObjectLedger,
    sources: Arc<Sources>,
    rejects: Keep,
    objects: Keep,
    /// Up to which object versions were looked up.
    looked_up: Option<ObjectId>,
}

impl Retention {
    pub(crate) fn new(
        ledger: ObjectLedger,
        sources: Arc<Sources>,
        settings: &FetcherSettings,
    ) -> Self {
        let (rejects, objects) = (settings.keep_rejects, settings.keep_objects);
        Self { ledger, sources, rejects, objects, looked_up: None }
    }

    /// Removes now and every hour, until it is stopped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut times = tokio::time::interval(INTERVAL);
        let run = async {
            loop {
                times.tick().await;
                self.remove(Utc::now()).await;
            }
        };
        stop.run_until_cancelled(run).await;
    }

    /// Shows the sizes of tables in the metrics, until it is stopped.
    pub(crate) async fn measure(ledger: ObjectLedger, datasets: Datasets, stop: CancellationToken) {
        let mut times = tokio::time::interval(MEASURE_INTERVAL);
        while stop.run_until_cancelled(times.tick()).await.is_some() {
            match ledger.table_bytes(&datasets).await {
                Ok(tables) => {
                    for (table, bytes) in tables {
                        metrics::gauge!(TABLE_BYTES, "table" => table).set(as_f64(bytes));
                    }
                }
                Err(error) => {
                    let error = jetline_runtime::causes(&error);
                    tracing::debug!(error, "measure tables failed");
                }
            }
        }
    }

    /// Removes what is too old now. What could not be removed is removed the next time.
    pub(crate) async fn remove(&mut self, now: DateTime<Utc>) {
        match self.ledger.remove_rejects(self.rejects.cutoff(now)).await {
            Ok(0) => {}
            Ok(lines) => tracing::info!(lines, "old rejected lines removed"),
            Err(error) => {
                let error = jetline_runtime::causes(&error);
                tracing::warn!(error, "remove old rejected lines failed");
            }
        }
        match self.ledger.remove_abandoned_listings(now).await {
            Ok(0) => {}
            Ok(objects) => tracing::info!(objects, "abandoned listings removed"),
            Err(error) => {
                let error = jetline_runtime::causes(&error);
                tracing::warn!(error, "remove abandoned listings failed");
            }
        }
        let Some(ended_before) = self.objects.cutoff(now) else { return };
        match self.remove_objects(ended_before).await {
            Ok(0) => {}
            Ok(objects) => tracing::info!(objects, "entries of old objects removed"),
            Err(error) => {
                let error = jetline_runtime::causes(&error);
                tracing::warn!(error, "remove entries of old objects failed");
            }
        }
    }

    /// Removes the entries of objects whose versions no source has any more: one that is listed again would be registered as new,
    /// and its old lines would win. A listing alone does not say that, as it has only what matches.
    async fn remove_objects(&mut self, ended_before: DateTime<Utc>) -> Result<u64, RegisterError> {
        let listed = self.sources.existing().await?.into_iter();
        let listed: HashSet<ExistingVersion> = listed.map(Into::into).collect();
        // A root without any object may be a disk that is not mounted.
        let mut roots: Vec<String> = listed.iter().map(|one| one.root.clone()).collect();
        roots.sort_unstable();
        roots.dedup();
        if roots.is_empty() {
            return Ok(0);
        }
        let (mut removed, mut lookups) = (0, 0);
        while lookups < MAX_LOOKUPS {
            let ended = self.ledger.settled_versions(&roots, self.looked_up, ended_before).await?;
            let Some(last) = ended.last().map(|last| last.object) else {
                self.looked_up = None;
                break;
            };
            let mut gone = Vec::new();
            for one in ended {
                if listed.contains(&one.version.clone().into()) {
                    continue;
                }
                lookups += 1;
                match self.sources.has(&one.version).await {
                    Ok(true) => {}
                    Ok(false) => gone.push(one.object),
                    // Perhaps it is there.
                    Err(error) => {
                        let error = jetline_runtime::causes(&error);
                        tracing::debug!(object = one.object.get(), error, "look up version failed");
                    }
                }
            }
            removed += self.ledger.remove_objects(&gone).await?;
            self.looked_up = Some(last);
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_a_duration_or_forever() {
        assert_eq!("30d".parse(), Ok(Keep::For(Duration::from_hours(720))));
        assert_eq!("forever".parse(), Ok(Keep::Forever));
        assert!("never".parse::<Keep>().unwrap_err().contains("forever"));
        let now = Utc::now();
        assert_eq!(Keep::Forever.cutoff(now), None);
        assert_eq!(Keep::For(Duration::from_hours(24)).cutoff(now), Some(now - TimeDelta::days(1)));
        assert_eq!(Keep::For(Duration::MAX).cutoff(now), None);
    }
}
