//! The places objects come from, listed and registered.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use jetline_records::ObjectId;
use jetline_runtime::StartupSettings;
use jetline_source::{LeftOut, Location, ObjectVersion, OwnDatabase, S3Config, Source};
use jetline_store::{Ledger, ledger::NewObject};
use rand::{Rng, RngCore};

use crate::{FetcherSettings, changing::Changing};

/// All sources of a fetcher.
pub struct Sources {
    all: Vec<Configured>,
    patience: Duration,
    pub(crate) changing: Changing,
    /// What the log has told of entries that are left out.
    told: Mutex<HashSet<String>>,
}

/// What the sources hold now.
#[derive(Default)]
pub(crate) struct Listed<'a> {
    /// Every object version, with its dataset.
    pub(crate) objects: Vec<(ObjectVersion, &'a str)>,
    /// What should have been among them.
    pub(crate) left_out: LeftOut,
    /// The locations of which nothing is there.
    pub(crate) missing: Vec<&'a Location>,
}

/// What a listing came to.
#[derive(Clone, Debug, Default)]
pub struct Registered {
    /// How many objects there are.
    pub listed: usize,
    /// How many of them are new.
    pub new: usize,
    /// Those that have failed and are not dismissed.
    pub failed: BTreeSet<ObjectId>,
    /// What should have been among them and cannot be read.
    pub left_out: LeftOut,
    /// The locations of which nothing is there.
    pub missing: Vec<String>,
}

struct Configured {
    source: Arc<dyn Source>,
    dataset: String,
    location: Location,
}

impl Sources {
    /// Opens every source of the settings. The files of the database that is loaded into are no objects of theirs.
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
        Ok(Self {
            all,
            patience,
            changing: Changing::new(settings.watch.is_none()),
            told: Mutex::default(),
        })
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

    /// What the sources hold now.
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
            all.left_out.extend(listing.left_out);
            let objects = listing.objects.into_iter();
            all.objects
                .extend(objects.map(|object| (object, one.dataset.as_str())));
        }
        Ok(all)
    }

    /// Lists every source and registers what is new.
    pub async fn register(
        &self,
        settings: &FetcherSettings,
        ledger: &Ledger,
        randomness: &mut (impl RngCore + Send),
    ) -> Result<Registered, RegisterError> {
        let Listed {
            objects: mut listed,
            mut left_out,
            missing,
        } = self.list().await?;
        // One order over all sources: it decides which of two lines is the later.
        listed.sort_by(|(a, _), (b, _)| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        let mut objects = Vec::with_capacity(listed.len());
        for (object, dataset) in listed {
            let uri = object.uri();
            if self.changing.hides(&uri) {
                continue;
            }
            let object = NewObject {
                registration: format!("{:016x}", randomness.random::<u64>()),
                dataset: dataset.to_owned(),
                root: object.root,
                key: object.key,
                etag: object.etag,
                size: object.size,
                last_modified: object.last_modified,
                chunk_bytes: settings.chunk_bytes,
                chunk_lines: settings.chunk_lines,
                max_line_bytes: settings.max_line_bytes,
            };
            match ledger.refuses(&object) {
                Some(reason) => left_out.add(&uri, reason),
                None => objects.push(object),
            }
        }
        self.tell(&left_out);
        let new = ledger.register(&objects).await?;
        let failed = ledger.failed(&objects).await?;
        Ok(Registered {
            listed: objects.len(),
            new,
            failed: failed.into_iter().collect(),
            left_out,
            missing: missing.into_iter().map(ToString::to_string).collect(),
        })
    }

    /// Each entry is told once, however often the sources are listed.
    fn tell(&self, left_out: &LeftOut) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let named: HashSet<String> = left_out.named().iter().cloned().collect();
        for entry in named.difference(&told) {
            tracing::warn!(entry, "an entry of a source is left out");
        }
        let unnamed = left_out.count() - left_out.named().len() as u64;
        if unnamed > 0 && *told != named {
            tracing::warn!(unnamed, "more entries of the sources are left out");
        }
        *told = named;
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
