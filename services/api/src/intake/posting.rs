//! A post: read, validated, written and registered.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use jetline_datasets::{Dataset, RedactionKey};
use jetline_runtime::Shutdown;
use jetline_store::{
    Ledger, ObjectLedger,
    objects::{NewPost, Post, PostsOutcome},
};
use poem::Request;

use super::{
    IntakeMode, IntakeParts, IntakeSettings,
    batcher::{Batcher, SmallPost},
    body::{BodyError, BodyReader, Hash, Summary},
    memory::Memory,
    spool::{Spool, Spooled},
    waiting::EndedObjects,
    write_error::{WriteError, of_ledger},
    writer::ObjectWriter,
};

/// How long posts are known by their ids and keys.
const KEPT: chrono::Duration = chrono::Duration::days(7);

/// How often older ones are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_hours(1);

/// Takes posts.
pub(crate) struct Intake {
    pub(super) mode: IntakeMode,
    writer: Arc<ObjectWriter>,
    /// By the numbers of declarations.
    batchers: Mutex<HashMap<i64, Batcher>>,
    /// Callers, datasets and keys of the posts that are under way here.
    under_way: Arc<Mutex<HashSet<PostKey>>>,
    memory: Memory,
    pub(super) ended: Arc<EndedObjects>,
    max_bytes: u64,
    redact_key: Option<RedactionKey>,
    /// How long a client may send nothing.
    idle_timeout: Duration,
}

type PostKey = (String, String, String);

/// A post that is durable and registered.
pub(super) struct Posted {
    pub(super) post: Post,
    pub(super) summary: Summary,
}

/// Why a post is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("no record is valid")]
    NoRecords(Summary),
    #[error("a record is not valid, and all had to be (Prefer: handling=strict)")]
    NotAllValid(Summary),
    #[error("the Idempotency-Key was used for another body")]
    OtherBody,
    #[error("a post with this Idempotency-Key is under way")]
    UnderWay,
    #[error("{0} has columns that are redacted, and the api has no key for that (REDACT_KEY)")]
    NoRedactionKey(String),
}

impl Intake {
    /// To be called in a tokio runtime.
    pub(crate) fn start(
        settings: &IntakeSettings,
        parts: IntakeParts,
        idle_timeout: Duration,
        shutdown: &Shutdown,
    ) -> Arc<Self> {
        let IntakeParts { store, database, wakeup, redact_key } = parts;
        let ledger = Ledger::new(&database, Utc::now).objects;
        let forgetting = forget_old_posts(ledger.clone());
        tokio::spawn(shutdown.soft.clone().run_until_cancelled_owned(forgetting));
        Arc::new(Self {
            mode: settings.intake,
            ended: EndedObjects::start(ledger.clone()),
            writer: Arc::new(ObjectWriter::new(store, ledger, wakeup)),
            batchers: Mutex::default(),
            under_way: Arc::default(),
            memory: Memory::new(settings.intake_memory, idle_timeout),
            max_bytes: settings.intake_max_bytes,
            redact_key,
            idle_timeout,
        })
    }

    pub(super) fn ledger(&self) -> &ObjectLedger {
        &self.writer.ledger
    }

    /// Takes the records of a request.
    pub(super) async fn post(
        &self,
        request: &Request,
        body: poem::Body,
        post: PostRequest<'_>,
    ) -> Result<Posted, PostError> {
        let _under_way = self.begin(&post)?;
        let memory = self.memory.for_body(request, post.dataset).await?;
        let body = BodyReader::new(request, body, self.max_bytes, self.idle_timeout)?;
        let redaction = self.redaction(post.dataset)?;
        // A clear value could be found from a hash without a key by trial.
        let keyed = |hash: Hash| redaction.map_or(hash, |key| key.mac(&hash));
        if let Some(known) = self.known(&post).await? {
            let summary = Summary { hash: keyed(body.hash().await?), ..Summary::default() };
            return posted(known, summary);
        }
        let (store, key) = (self.writer.store.clone(), self.writer.key(post.dataset));
        let mut spool = Spool::new(store, key, memory);
        let read = match body.records(post.dataset, redaction, &mut spool).await {
            Ok(summary) if summary.accepted == 0 => Err(PostError::NoRecords(summary)),
            Ok(summary) if post.is_strict && summary.rejected > 0 => {
                Err(PostError::NotAllValid(summary))
            }
            read => read.map_err(PostError::from),
        };
        let summary = match read {
            Ok(summary) => Summary { hash: keyed(summary.hash), ..summary },
            Err(error) => {
                spool.abort().await;
                return Err(error);
            }
        };
        let registered = self.register(&post, spool, &summary).await?;
        posted(registered, summary)
    }

    /// Writes and registers the lines; returns the post as it is now, or was before.
    async fn register(
        &self,
        post: &PostRequest<'_>,
        spool: Spool,
        summary: &Summary,
    ) -> Result<Post, WriteError> {
        let dataset = post.dataset;
        let (caller, idempotency_key) = (post.caller.to_owned(), post.key.clone());
        match spool.finish().await? {
            Spooled::Lines(lines, memory) => {
                let (hash, count) = (summary.hash, summary.accepted);
                let small =
                    SmallPost { caller, idempotency_key, hash, lines, count, _memory: memory };
                self.batcher(dataset).write(small).await
            }
            Spooled::Object(version) => {
                let (body_hash, lines) = (summary.hash, summary.accepted);
                let new = NewPost { caller, idempotency_key, body_hash, first_line: 1, lines };
                self.writer.wait_for_number(&dataset.name).await;
                let posts = std::slice::from_ref(&new);
                match self.writer.register(dataset, version, posts).await? {
                    PostsOutcome::Registered(object) => Ok(new.registered(object, &dataset.name)),
                    PostsOutcome::Outdated => Err(WriteError::Outdated),
                    PostsOutcome::Known(known) => {
                        known.into_values().next().ok_or(WriteError::Failed)
                    }
                }
            }
        }
    }

    /// Marks the key as under way until what is returned is dropped.
    fn begin(&self, post: &PostRequest<'_>) -> Result<Option<UnderWay>, PostError> {
        let Some(key) = &post.key else { return Ok(None) };
        let key = (post.caller.to_owned(), post.dataset.name.clone(), key.clone());
        let mut keys = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(key.clone()) {
            return Err(PostError::UnderWay);
        }
        Ok(Some(UnderWay { keys: self.under_way.clone(), key }))
    }

    /// The key by which records of a dataset are redacted, if they are.
    fn redaction(&self, dataset: &Dataset) -> Result<Option<&RedactionKey>, PostError> {
        match &self.redact_key {
            _ if !dataset.has_redaction() => Ok(None),
            Some(key) => Ok(Some(key)),
            None => Err(PostError::NoRedactionKey(dataset.name.clone())),
        }
    }

    async fn known(&self, post: &PostRequest<'_>) -> Result<Option<Post>, WriteError> {
        let Some(key) = &post.key else { return Ok(None) };
        let known = self.ledger().post_with_key(post.caller, &post.dataset.name, key).await;
        known.map_err(|error| of_ledger(&error))
    }

    fn batcher(&self, dataset: &Arc<Dataset>) -> Batcher {
        let mut batchers = self.batchers.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Batcher::start(dataset.clone(), self.writer.clone());
        // Another declaration may redact other columns.
        batchers.entry(dataset.declaration).or_insert_with(start).clone()
    }
}

/// What is posted, and by whom.
pub(super) struct PostRequest<'a> {
    pub(super) dataset: &'a Arc<Dataset>,
    /// Empty where nobody has to authenticate.
    pub(super) caller: &'a str,
    pub(super) key: Option<String>,
    /// Whether an invalid record refuses all.
    pub(super) is_strict: bool,
}

/// A key that is under way until this is dropped.
struct UnderWay {
    keys: Arc<Mutex<HashSet<PostKey>>>,
    key: PostKey,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A post that was registered before must have had the same body.
fn posted(post: Post, summary: Summary) -> Result<Posted, PostError> {
    if post.body_hash == summary.hash {
        Ok(Posted { post, summary })
    } else {
        Err(PostError::OtherBody)
    }
}

async fn forget_old_posts(ledger: ObjectLedger) {
    let mut ticks = tokio::time::interval(FORGET_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = ledger.forget_posts(Utc::now() - KEPT).await {
            tracing::warn!(error = jetline_runtime::causes(&error), "forget posts failed");
        }
    }
}
