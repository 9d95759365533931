//! Writers on real servers, with objects and chunks for them.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chrono::Utc;
use jetline_core::{EpochId, ObjectId, ObjectVersion};
use jetline_dedup::{Dedup, Redis, RedisConfig};
use jetline_queue::{Chunk, Queue};
use jetline_runtime::Shutdown;
use jetline_store::{
    Ledger,
    entities::{chunks, objects},
    objects::{LeaseLimits, NewObject, ReadOutcome},
};
use jetline_testkit::{
    postgres::TemporaryDatabase,
    redis::{shared, unique_prefix},
};
use jetline_writer::{Error, WriterSettings};
use sea_orm::{ConnectionTrait, EntityTrait, Statement};
use tokio::task::JoinHandle;
use url::Url;

/// Timeout of every wait for a condition.
const TIMEOUT: Duration = Duration::from_mins(1);

const ROOT: &str = "file:///files";
const LEASE_TERM: Duration = Duration::from_hours(1);
const ONE_OBJECT: LeaseLimits = LeaseLimits { objects: 1, bytes: 0 };

pub(crate) async fn database(name: &str) -> (TemporaryDatabase, Ledger) {
    let database = TemporaryDatabase::create(name).await;
    let ledger = ledger(&database).await;
    (database, ledger)
}

pub(crate) async fn ledger(database: &TemporaryDatabase) -> Ledger {
    let db = jetline_store::Database::connect(&database.url(), 8).await.unwrap();
    Ledger::new(&db, Utc::now)
}

/// A dedup store with a prefix of its own in the Redis that all tests share.
pub(crate) async fn dedup(name: &str) -> Arc<dyn Dedup> {
    dedup_at(&shared(), &unique_prefix(name)).await
}

pub(crate) async fn dedup_at(url: &Url, prefix: &str) -> Arc<dyn Dedup> {
    let config = RedisConfig { redis_prefix: prefix.to_owned(), ..RedisConfig::default() };
    Arc::new(Redis::connect(url, &config).await.unwrap())
}

/// The line of a product.
pub(crate) fn product(id: i64, title: &str) -> String {
    format!(
        r#"{{"id":{id},"title":"{title}","price":1,"category":"c","brand":"b","url":"u","description":"d"}}"#
    )
}

/// Registers an object, and returns its chunks as a fetcher would publish them.
pub(crate) async fn object(ledger: &Ledger, key: &str, bodies: &[&[String]]) -> Vec<Chunk> {
    let new = NewObject {
        is_posted: false,
        incarnation: format!("registration-of-{key}"),
        dataset: "products".to_owned(),
        version: ObjectVersion {
            root: ROOT.to_owned(),
            key: key.to_owned(),
            etag: "e".to_owned(),
            size: 1,
            last_modified: Utc::now(),
        },
        chunk_bytes: 1,
        chunk_lines: NonZeroU32::MAX,
        max_line_bytes: 1,
    };
    assert_eq!(ledger.objects.register(&[new]).await.unwrap(), 1);
    let leased = ledger.objects.lease(key, &[ROOT.to_owned()], LEASE_TERM, ONE_OBJECT).await;
    let object = leased.unwrap()[0].id;
    let settled = ledger.objects.settled().await.unwrap();
    let (mut bytes, mut lines) = (0, 0);
    let mut chunks = Vec::new();
    for body in bodies {
        let text = body.join("\n") + "\n";
        let (start, first_line) = (bytes, lines + 1);
        bytes += text.len() as u64;
        lines += u32::try_from(body.len()).unwrap();
        chunks.push(Chunk {
            object,
            incarnation: format!("registration-of-{key}"),
            dataset: "products".to_owned(),
            declaration: 1,
            format: jetline_formats::Format::JsonLines,
            header: Bytes::new(),
            modified_at: None,
            is_redacted: false,
            start,
            end: bytes,
            first_line,
            lines: lines + 1 - first_line,
            oversized: false,
            settled,
            read_attempt: "first".to_owned(),
            trace: None,
            body: Bytes::from(text),
        });
    }
    let outcome = ReadOutcome::EndReached { bytes, lines: lines.into(), error: None };
    assert_eq!(ledger.objects.record_outcomes(&[(object, outcome)], key).await.unwrap(), 1);
    chunks
}

pub(crate) async fn publish(queue: &dyn Queue, chunks: &[Chunk]) {
    for chunk in chunks {
        queue.publish(chunk.clone()).await.unwrap().await.unwrap();
    }
}

/// A writer in a task.
pub(crate) struct RunningWriter {
    pub(crate) shutdown: Shutdown,
    ended: JoinHandle<Result<(), Error>>,
}

impl RunningWriter {
    pub(crate) fn start(queue: Arc<dyn Queue>, dedup: Arc<dyn Dedup>, ledger: &Ledger) -> Self {
        let settings = WriterSettings {
            writer_workers: NonZeroUsize::new(2).unwrap(),
            writer_chunks: NonZeroUsize::new(4).unwrap(),
            max_deliver: 2,
            progress_every: Some(Duration::from_millis(50)),
            redact_key: None,
        };
        let (ledger, shutdown) = (ledger.clone(), Shutdown::new());
        let ending = shutdown.clone();
        let ended = tokio::spawn(async move {
            let seed = rand::random();
            jetline_writer::run(&settings, queue, dedup, ledger, seed, &ending).await
        });
        Self { shutdown, ended }
    }

    /// Waits until it ends.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        let ended = tokio::time::timeout(TIMEOUT, self.ended).await;
        ended.expect("the writer does not end").unwrap()
    }

    /// Shuts it down softly.
    pub(crate) async fn stop(self) {
        self.shutdown.soft.cancel();
        self.ended().await.unwrap();
    }
}

/// Waits until the queue holds no chunk of an object.
pub(crate) async fn drained(queue: &dyn Queue, object: ObjectId) {
    eventually("everything is acknowledged", async || {
        queue.pending(&[object]).await.unwrap() == [0]
    })
    .await;
}

pub(crate) async fn settle(ledger: &Ledger) {
    ledger.objects.settle(EpochId::random(&mut rand::rng()), None).await.unwrap();
}

pub(crate) async fn row_of(ledger: &Ledger, object: ObjectId) -> objects::Model {
    let row = objects::Entity::find_by_id(object.get());
    row.one(ledger.database().connection()).await.unwrap().unwrap()
}

pub(crate) async fn entries(ledger: &Ledger) -> Vec<chunks::Model> {
    chunks::Entity::find().all(ledger.database().connection()).await.unwrap()
}

/// Titles by id, with `jetline_changed_at`.
pub(crate) async fn titles(ledger: &Ledger) -> BTreeMap<i64, (String, String)> {
    let db = ledger.database().connection();
    let sql = "SELECT id, title, jetline_changed_at::text FROM products";
    let query = Statement::from_string(db.get_database_backend(), sql);
    let rows = db.query_all_raw(query).await.unwrap();
    let rows = rows.iter().map(|row| {
        let values =
            (row.try_get("", "title").unwrap(), row.try_get("", "jetline_changed_at").unwrap());
        (row.try_get("", "id").unwrap(), values)
    });
    rows.collect()
}

pub(crate) async fn title(ledger: &Ledger, id: i64) -> Option<String> {
    titles(ledger).await.remove(&id).map(|(title, _)| title)
}

pub(crate) async fn epoch(ledger: &Ledger) -> EpochId {
    ledger.epochs.current().await.unwrap().unwrap().epoch.id
}

pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < TIMEOUT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
