//! Lists the sources and registers their objects.

use std::{
    collections::{BTreeSet, HashSet},
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use futures::StreamExt as _;
use jetline_core::ObjectId;
use jetline_datasets::Datasets;
use jetline_runtime::StartupSettings;
use jetline_source::{
    IntakeStore, Location, ObjectVersion, OwnDatabase, S3Config, Skipped, Source,
};
use jetline_store::{ObjectLedger, objects::ListedObjects};
use rand::{Rng, RngCore};
use tokio_util::task::AbortOnDropHandle;

use crate::{FetcherSettings, deferral::Deferrals};

/// All sources of a fetcher.
pub struct Sources {
    all: Vec<ConfiguredSource>,
    intake: Option<Intake>,
    startup_timeout: Duration,
    pub(crate) deferrals: Deferrals,
    /// Listings of which objects may be in the ledger's table: those that are under way or were cancelled.
    unfinished: Mutex<Vec<String>>,
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
pub struct ListingResult {
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

struct ConfiguredSource {
    source: Arc<dyn Source>,
    location: Location,
}

impl ConfiguredSource {
    fn not_listed(&self, source: jetline_source::Error) -> RegisterError {
        RegisterError::List { location: self.location.to_string(), source }
    }
}

impl ListingResult {
    /// Adds the result of another source.
    fn add(&mut self, other: Self) {
        self.listed += other.listed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.missing.extend(other.missing);
    }
}

/// The objects that apis write. They register them, and no listing does.
struct Intake {
    source: Arc<dyn Source>,
    /// What their URIs begin with.
    prefix: String,
}

impl Sources {
    /// Opens every source of the settings, and the store of apis. The files of `own`, the target database, are excluded.
    pub async fn open(
        settings: &FetcherSettings,
        intake: &IntakeStore,
        s3: &S3Config,
        startup: &StartupSettings,
        own: &OwnDatabase,
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for location in settings.locations() {
            let opened = jetline_source::open_without(location, s3, own).await;
            let failed = || format!("cannot open the source {location} (SOURCE)");
            let source = opened.with_context(failed)?;
            all.push(ConfiguredSource { source, location: location.clone() });
        }
        let startup_timeout = startup.startup_timeout;
        Ok(Self {
            all,
            intake: Intake::open(intake, s3).await?,
            startup_timeout,
            deferrals: Deferrals::new(settings.watch.is_none()),
            unfinished: Mutex::default(),
            logged: Mutex::default(),
        })
    }

    /// Wraps every source, as tests do to inject faults.
    #[must_use]
    pub fn map<S: Source + 'static>(mut self, wrap: impl Fn(Arc<dyn Source>) -> Arc<S>) -> Self {
        for one in &mut self.all {
            one.source = wrap(one.source.clone());
        }
        if let Some(intake) = &mut self.intake {
            intake.source = wrap(intake.source.clone());
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
            self.sources().map(|source| source.root().to_owned()).collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// The source of the objects with this root.
    #[must_use]
    pub fn with_root(&self, root: &str) -> Option<&Arc<dyn Source>> {
        self.sources().find(|source| source.root() == root)
    }

    fn sources(&self) -> impl Iterator<Item = &Arc<dyn Source>> {
        let intake = self.intake.iter().map(|intake| &intake.source);
        self.all.iter().map(|one| &one.source).chain(intake)
    }

    /// Whether there are objects that apis write.
    pub(crate) fn have_intake(&self) -> bool {
        self.intake.is_some()
    }

    /// Whether an API wrote this object.
    fn is_of_intake(&self, uri: &str) -> bool {
        self.intake.as_ref().is_some_and(|intake| uri.starts_with(&intake.prefix))
    }

    /// Whether a listed object is one of the location's: those of the intake have datasets of their own, unless the location is
    /// one of them.
    fn takes(&self, of: &ConfiguredSource, object: &ObjectVersion) -> bool {
        !self.is_of_intake(&object.uri()) || {
            let prefix = format!("{}/{}", of.source.root(), of.location.key_prefix());
            self.is_of_intake(&prefix)
        }
    }

    /// The contents of the sources.
    pub(crate) async fn list(&self) -> Result<Listed<'_>, RegisterError> {
        let mut all = Listed::default();
        for one in &self.all {
            let listing = one.source.list().await.map_err(|source| one.not_listed(source))?;
            if listing.is_missing {
                all.missing.push(&one.location);
            }
            all.skipped.extend(listing.skipped);
            let objects = listing.objects.into_iter().filter(|object| self.takes(one, object));
            all.objects.extend(objects.map(|object| (object, &one.location)));
        }
        Ok(all)
    }

    /// Every object that exists, those of the intake too.
    pub(crate) async fn existing(&self) -> Result<Vec<ObjectVersion>, RegisterError> {
        let listed = self.list().await?.objects.into_iter();
        let mut existing: Vec<ObjectVersion> = listed.map(|(object, _)| object).collect();
        if let Some(intake) = &self.intake {
            let listing = intake.source.list().await;
            let listing = listing.map_err(|source| RegisterError::List {
                location: intake.prefix.clone(),
                source,
            })?;
            existing.extend(listing.objects);
        }
        Ok(existing)
    }

    /// Whether a source has this version, whether or not it matches. That of an unknown root may exist.
    pub(crate) async fn has(&self, version: &ObjectVersion) -> Result<bool, RegisterError> {
        let Some(source) = self.with_root(&version.root) else { return Ok(true) };
        let found = source.find(&version.key).await;
        let found =
            found.map_err(|source| RegisterError::List { location: version.uri(), source })?;
        Ok(found.is_some_and(|found| found.etag == version.etag))
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

    /// Lists every source and registers what is new. The datasets of locations are those of the settings and of `datasets`; what
    /// they declare now is in `current`.
    pub async fn register(
        &self,
        settings: &FetcherSettings,
        datasets: &Datasets,
        current: &Datasets,
        ledger: &ObjectLedger,
        randomness: &mut (impl RngCore + Send),
    ) -> Result<ListingResult, RegisterError> {
        // One order over all pages and sources: it decides which of two lines is later.
        let listing_id = random_id(randomness);
        lock(&self.unfinished).push(listing_id.clone());
        let mut new = ledger.listed_objects(listing_id.clone(), settings.order_by.order_key());
        let registered =
            self.list_and_register(&mut new, settings, datasets, current, ledger, randomness).await;
        if !new.uses_table() {
            lock(&self.unfinished).retain(|id| *id != listing_id);
        }
        self.remove_unfinished(ledger).await;
        registered
    }

    /// Removes what listings have left in the ledger's table, those that were cancelled too.
    pub(crate) async fn remove_unfinished(&self, ledger: &ObjectLedger) {
        let unfinished = lock(&self.unfinished).clone();
        for listing_id in unfinished {
            if let Err(error) = ledger.remove_listing(&listing_id).await {
                let error = jetline_runtime::causes(&error);
                tracing::warn!(error, "remove listed objects failed");
                return;
            }
            lock(&self.unfinished).retain(|id| *id != listing_id);
        }
    }

    async fn list_and_register(
        &self,
        new: &mut ListedObjects,
        settings: &FetcherSettings,
        datasets: &Datasets,
        current: &Datasets,
        ledger: &ObjectLedger,
        randomness: &mut (impl RngCore + Send),
    ) -> Result<ListingResult, RegisterError> {
        let mut all = ListingResult::default();
        for one in &self.all {
            let (first, mut registered) = (new.count(), ListingResult::default());
            let mut pages = one.source.pages();
            let mut next = pages.next().await;
            while let Some(page) = next {
                let page = page.map_err(|source| one.not_listed(source))?;
                if page.replaces {
                    new.truncate(first).await?;
                    registered = ListingResult::default();
                }
                registered.skipped.extend(page.skipped);
                registered.missing.extend(page.is_missing.then(|| one.location.to_string()));
                let mut objects = Vec::with_capacity(page.objects.len());
                for object in page.objects.into_iter().filter(|object| self.takes(one, object)) {
                    let uri = object.uri();
                    if self.deferrals.defers(&uri) {
                        continue;
                    }
                    let incarnation = random_id(randomness);
                    let is_posted = self.is_of_intake(&uri);
                    let object = settings.new_object(
                        object,
                        &one.location,
                        datasets,
                        is_posted,
                        incarnation,
                    );
                    match settings
                        .skip_reason(&object, current)
                        .or_else(|| ledger.skip_reason(&object))
                    {
                        Some(reason) => registered.skipped.add(&uri, reason),
                        None => objects.push(object),
                    }
                }
                registered.listed += objects.len();
                // What the ledger has is not kept. It is looked up while the next page is parsed, on another thread: both take CPU.
                let ledger = ledger.clone();
                let look_up = tokio::spawn(async move { ledger.split_known(objects).await });
                let split;
                (split, next) = tokio::join!(AbortOnDropHandle::new(look_up), pages.next());
                let split =
                    split.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic()))?;
                new.add(split.unknown).await?;
                registered.failed.extend(split.failed);
            }
            all.add(registered);
        }
        self.log_skipped(&all.skipped);
        all.new = new.register().await?;
        Ok(all)
    }

    /// Logs each entry once, however often the sources are listed.
    fn log_skipped(&self, skipped: &Skipped) {
        let mut logged = lock(&self.logged);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random_id(randomness: &mut impl RngCore) -> String {
    format!("{:016x}", randomness.random::<u64>())
}

impl Intake {
    async fn open(store: &IntakeStore, s3: &S3Config) -> anyhow::Result<Option<Self>> {
        let Some(location) = &store.intake_store else { return Ok(None) };
        let opened = jetline_source::open_store(location, s3).await;
        let failed = || format!("cannot open the store {location} (INTAKE_STORE)");
        let store = opened.with_context(failed)?;
        let prefix = format!("{}/{}", store.root(), store.prefix());
        let source = jetline_source::open(location, s3).await.with_context(failed)?;
        Ok(Some(Self { source, prefix }))
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
        match self {
            Self::List { source, .. } => {
                matches!(source, jetline_source::Error::Unavailable { .. })
            }
            Self::Ledger(error) => error.is_transient(),
        }
    }
}
