//! The places objects come from, listed and registered.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use jetline_runtime::StartupSettings;
use jetline_source::{Location, ObjectVersion, S3Config, Source};
use jetline_store::{Ledger, ledger::NewObject};
use rand::{Rng, RngCore};

use crate::FetcherSettings;

/// All sources of a fetcher.
pub struct Sources {
    all: Vec<Configured>,
    patience: Duration,
}

struct Configured {
    source: Arc<dyn Source>,
    dataset: String,
    location: Location,
}

impl Sources {
    /// Opens every source of the settings.
    pub async fn open(
        settings: &FetcherSettings,
        s3: &S3Config,
        startup: &StartupSettings,
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for location in &settings.source {
            let source = jetline_source::open(location, s3)
                .await
                .with_context(|| format!("cannot open the source {location} (SOURCE)"))?;
            all.push(Configured {
                source,
                dataset: location
                    .dataset
                    .clone()
                    .unwrap_or_else(|| settings.dataset.clone()),
                location: location.clone(),
            });
        }
        let patience = startup.startup_patience;
        Ok(Self { all, patience })
    }

    /// The same places, each with something around it.
    #[must_use]
    pub fn map<S: Source + 'static>(mut self, around: impl Fn(Arc<dyn Source>) -> Arc<S>) -> Self {
        for one in &mut self.all {
            one.source = around(one.source.clone());
        }
        self
    }

    /// How long a source may be away when it is listed for the first time.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The roots of the objects that can be read here.
    #[must_use]
    pub fn roots(&self) -> Vec<String> {
        let mut roots: Vec<String> = self
            .all
            .iter()
            .map(|one| one.source.root().to_owned())
            .collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// The source that an object comes from.
    #[must_use]
    pub fn of(&self, root: &str) -> Option<&Arc<dyn Source>> {
        self.all
            .iter()
            .map(|one| &one.source)
            .find(|source| source.root() == root)
    }

    /// Every object version that the sources hold now, with its dataset.
    pub(crate) async fn list(&self) -> Result<Vec<(ObjectVersion, &str)>, RegisterError> {
        let mut listed = Vec::new();
        for one in &self.all {
            let objects = one
                .source
                .list()
                .await
                .map_err(|source| RegisterError::List {
                    location: one.location.to_string(),
                    source,
                })?;
            listed.extend(
                objects
                    .into_iter()
                    .map(|object| (object, one.dataset.as_str())),
            );
        }
        Ok(listed)
    }

    /// Lists every source and registers what is new; returns how many objects there are and how many of them are new.
    pub async fn register(
        &self,
        settings: &FetcherSettings,
        ledger: &Ledger,
        randomness: &mut (impl RngCore + Send),
    ) -> Result<(usize, usize), RegisterError> {
        let mut listed = self.list().await?;
        // One order over all sources: it decides which of two lines is the later.
        listed.sort_by(|(a, _), (b, _)| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        let objects: Vec<NewObject> = listed
            .into_iter()
            .map(|(object, dataset)| NewObject {
                registration: format!("{:016x}", randomness.random::<u64>()),
                dataset: dataset.to_owned(),
                root: object.root,
                key: object.key,
                etag: object.etag,
                size: object.size,
                last_modified: object.last_modified,
                chunk_bytes: settings.chunk_bytes,
                max_line_bytes: settings.max_line_bytes,
            })
            .collect();
        let new = ledger.register(&objects).await?;
        Ok((objects.len(), new))
    }
}

/// Why the sources' objects are not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A source could not be listed.
    #[error("cannot list the source {location} (SOURCE)")]
    List {
        /// As it was given.
        location: String,
        /// Why.
        source: jetline_source::Error,
    },
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] jetline_store::Error),
}

impl RegisterError {
    /// Whether a source does not exist, which may change.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(
            self,
            Self::List {
                source: jetline_source::Error::Absent { .. },
                ..
            }
        )
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::List {
                source: jetline_source::Error::Unavailable { .. },
                ..
            } | Self::Ledger(jetline_store::Error::Unavailable { .. })
        )
    }
}
