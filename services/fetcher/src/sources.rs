//! Lists the sources and registers their objects.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use jetline_core::ObjectId;
use jetline_datasets::Datasets;
use jetline_runtime::StartupSettings;
use jetline_source::{Location, ObjectVersion, OwnDatabase, S3Config, Skipped, Source};
use jetline_store::{ObjectLedger, objects::NewObject};
use rand::{Rng, RngCore};

use crate::{FetcherSettings, deferral::Deferrals};

/// All sources of a fetcher.
pub struct Sources {
    all: Vec<Configured>,
    startup_timeout: Duration,
    pub(crate) deferrals: Deferrals,
    /// The skipped entries that were logged.
    logged: Mutex<HashSet<String>>,
}

/// The contents of the sources.
#[derive(Default)]
pub(crate) struct Listed<'a> {
    /// Every object version, with the location that has it.
    pub(crate) objects: Vec<(ObjectVersion, &'a Location)>,
    /// Entries that are not taken.
    pub(crate) skipped: Skipped,
    /// The locations that match no object.
    pub(crate) missing: Vec<&'a Location>,
}

/// An object of a source.
pub(crate) struct Found<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) object: ObjectVersion,
    /// The location that has it.
    pub(crate) location: &'a Location,
}

/// The result of listing and registering.
#[derive(Clone, Debug, Default)]
pub struct Registered {
    /// Objects of the sources, without skipped and deferred ones.
    pub listed: usize,
    /// How many of them are new.
    pub new: usize,
    /// The listed objects that have failed and are not dismissed.
    pub failed: BTreeSet<ObjectId>,
    /// Entries that are not taken.
    pub skipped: Skipped,
    /// The locations that match no object.
    pub missing: Vec<String>,
}

struct Configured {
    source: Arc<dyn Source>,
    location: Location,
}

impl Sources {
    /// Opens every source of the settings. The files of `own`, the target database, are excluded.
    pub async fn open(
        settings: &FetcherSettings,
        s3: &S3Config,
        startup: &StartupSettings,
        own: &OwnDatabase,
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for location in settings.locations() {
            let source = jetline_source::open_without(location, s3, own)
                .await
                .with_context(|| format!("cannot open the source {location} (SOURCE)"))?;
            all.push(Configured { source, location: location.clone() });
        }
        let startup_timeout = startup.startup_timeout;
        Ok(Self {
            all,
            startup_timeout,
            deferrals: Deferrals::new(settings.watch.is_none()),
            logged: Mutex::default(),
        })
    }

    /// Wraps every source, as tests do to inject faults.
    #[must_use]
    pub fn map<S: Source + 'static>(mut self, wrap: impl Fn(Arc<dyn Source>) -> Arc<S>) -> Self {
        for one in &mut self.all {
            one.source = wrap(one.source.clone());
        }
        self
    }

    /// How long a source may be unavailable when it is listed for the first time.
    pub(crate) fn startup_timeout(&self) -> Duration {
        self.startup_timeout
    }

    /// The roots of the objects that can be read here.
    #[must_use]
    pub fn roots(&self) -> Vec<String> {
        let mut roots: Vec<String> =
            self.all.iter().map(|one| one.source.root().to_owned()).collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// The source of the objects with this root.
    #[must_use]
    pub fn with_root(&self, root: &str) -> Option<&Arc<dyn Source>> {
        self.all.iter().map(|one| &one.source).find(|source| source.root() == root)
    }

    /// The contents of the sources.
    pub(crate) async fn list(&self) -> Result<Listed<'_>, RegisterError> {
        let mut all = Listed::default();
        for one in &self.all {
            let listing = one.source.list().await;
            let listing = listing.map_err(|source| RegisterError::List {
                location: one.location.to_string(),
                source,
            })?;
            if listing.is_missing {
                all.missing.push(&one.location);
            }
            all.skipped.extend(listing.skipped);
            let objects = listing.objects.into_iter();
            all.objects.extend(objects.map(|object| (object, &one.location)));
        }
        Ok(all)
    }

    /// The objects of the sources, in the order of their keys, and what is skipped; an error if there is none.
    pub(crate) async fn objects(&self) -> anyhow::Result<(Vec<Found<'_>>, Skipped)> {
        let Listed { objects, missing, skipped } = self.list().await?;
        anyhow::ensure!(
            missing.is_empty(),
            "there is nothing to read: no object matches {}",
            missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        let mut found = Vec::with_capacity(objects.len());
        for (object, location) in objects {
            let source = self.with_root(&object.root).context("an object has no source")?;
            found.push(Found { source: &**source, object, location });
        }
        found.sort_by(|a, b| a.object.key.cmp(&b.object.key));
        anyhow::ensure!(
            !found.is_empty(),
            "there is nothing to read: {}",
            skipped.named().first().map_or("the sources hold no objects", |entry| entry)
        );
        Ok((found, skipped))
    }

    /// Lists every source and registers what is new.
    pub async fn register(
        &self,
        settings: &FetcherSettings,
        datasets: &Datasets,
        ledger: &ObjectLedger,
        randomness: &mut (impl RngCore + Send),
    ) -> Result<Registered, RegisterError> {
        let Listed { objects: mut listed, mut skipped, missing } = self.list().await?;
        // One order over all sources: it decides which of two lines is later.
        listed.sort_by(|(a, _), (b, _)| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        let mut objects = Vec::with_capacity(listed.len());
        for (object, location) in listed {
            let uri = object.uri();
            if self.deferrals.defers(&uri) {
                continue;
            }
            let object = NewObject {
                incarnation: format!("{:016x}", randomness.random::<u64>()),
                dataset: settings.dataset_of(location, datasets).unwrap_or_default().to_owned(),
                version: object,
                chunk_bytes: settings.chunk_bytes,
                chunk_lines: settings.chunk_lines,
                max_line_bytes: settings.max_line_bytes,
            };
            match ledger.refuses(&object) {
                Some(reason) => skipped.add(&uri, reason),
                None => objects.push(object),
            }
        }
        self.log_skipped(&skipped);
        let new = ledger.register(&objects).await?;
        let failed = ledger.failed(&objects).await?;
        Ok(Registered {
            listed: objects.len(),
            new,
            failed: failed.into_iter().collect(),
            skipped,
            missing: missing.into_iter().map(ToString::to_string).collect(),
        })
    }

    /// Logs each entry once, however often the sources are listed.
    fn log_skipped(&self, skipped: &Skipped) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let named: HashSet<String> = skipped.named().iter().cloned().collect();
        for entry in named.difference(&logged) {
            tracing::warn!(entry, "source entry skipped");
        }
        let unnamed = skipped.count() - skipped.named().len() as u64;
        if unnamed > 0 && *logged != named {
            tracing::warn!(unnamed, "more source entries skipped");
        }
        *logged = named;
    }
}

/// Why objects could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A source could not be listed.
    #[error("cannot list the source {location} (SOURCE)")]
    List {
        /// The location, as configured.
        location: String,
        /// The cause.
        source: jetline_source::Error,
    },
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] jetline_store::Error),
}

impl RegisterError {
    /// Whether a source does not exist; it may be created later.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::List { source: jetline_source::Error::NotFound { .. }, .. })
    }

    /// Whether a retry may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::List { source: jetline_source::Error::Unavailable { .. }, .. }
                | Self::Ledger(jetline_store::Error::Unavailable { .. })
        )
    }
}
