//! A bucket, a queue, a ledger, and a writer that commits every chunk. Lines have ten bytes, chunks ten lines.

use std::{
    collections::HashSet,
    convert::Infallible,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::Utc;
use jetline_core::ChunkRange;
use jetline_core::{Epoch, Mode, ObjectId};
use jetline_datasets::{Dataset, Datasets, UnknownFields};
use jetline_fetcher::{
    FetcherSettings, Keep, ListingResult, OrderBy, RegisterError, Report, Sources, run,
};
use jetline_migrations::migrate;
use jetline_queue::{
    Chunk, Error, InProcess, PublishAck, Queue, QueueDestination, ReceivedChunk, Subject, Wakeup,
};
use jetline_runtime::{Shutdown, StartupSettings};
use jetline_source::{IntakeStore, OwnDatabase, S3Config};
use jetline_store::{ChunkRows, Database, Ledger};
use jetline_testkit::s3::S3Server;
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const BUCKET: &str = "bucket";
pub(crate) const CHUNK: u64 = 100;

pub(crate) struct Scene {
    pub(crate) s3: S3Server,
    pub(crate) ledger: Ledger,
    pub(crate) epoch: Epoch,
    pub(crate) queue: Arc<LossyQueue>,
    pub(crate) settings: FetcherSettings,
    pub(crate) shutdown: Shutdown,
    pub(crate) received: Arc<Mutex<Vec<Chunk>>>,
    part_size: u64,
    pub(crate) max_keys: u64,
    _directory: TempDir,
}

/// The maximum duration of a run.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// The report of a fetcher, when it has ended.
pub(crate) async fn ended(fetcher: JoinHandle<anyhow::Result<Report>>) -> Report {
    let ended = tokio::time::timeout(TIMEOUT, fetcher).await;
    ended.expect("the fetcher does not end").unwrap().unwrap()
}

impl Scene {
    /// A scene whose queue holds `capacity` bytes.
    pub(crate) async fn new(capacity: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        let database = Database::connect(&url, 8).await.unwrap();
        migrate(database.connection()).await.unwrap();
        let ledger = Ledger::new(&database, Utc::now);
        let ready = async { Ok::<(), Infallible>(()) };
        let new = "0000000000000001".parse().unwrap();
        let epoch = ledger.epochs.begin(Mode::Shared, None, new, ready).await;
        let s3 = S3Server::start().unwrap();
        s3.create_bucket(BUCKET);
        Self {
            s3,
            ledger,
            epoch: epoch.unwrap(),
            queue: Arc::new(LossyQueue::new(capacity)),
            settings: settings(),
            shutdown: Shutdown::new(),
            received: Arc::default(),
            part_size: 150,
            max_keys: 1_000_000,
            _directory: directory,
        }
    }

    pub(crate) async fn sources(&self) -> Sources {
        let config = S3Config {
            s3_part_size: self.part_size,
            s3_parallel_parts: NonZeroUsize::MIN,
            s3_max_keys: self.max_keys,
            sdk: Some(self.s3.sdk_config()),
        };
        let startup = StartupSettings { startup_timeout: Duration::from_secs(5) };
        let own = OwnDatabase::default();
        let intake = IntakeStore::default();
        let sources = Sources::open(&self.settings, &intake, &config, &startup, &own);
        sources.await.unwrap()
    }

    /// Registers the bucket's objects, as another fetcher would.
    pub(crate) async fn register(&self) -> ListingResult {
        self.try_register().await.unwrap()
    }

    pub(crate) async fn try_register(&self) -> Result<ListingResult, RegisterError> {
        let sources = self.sources().await;
        let mut randomness = StdRng::seed_from_u64(5);
        let (datasets, ledger) = (Datasets::built_in().unwrap(), &self.ledger.objects);
        let new = sources.register(&self.settings, &datasets, &datasets, ledger, &mut randomness);
        new.await
    }

    pub(crate) async fn fetch(&self) -> Report {
        ended(self.spawn_fetcher().await).await
    }

    pub(crate) async fn spawn_fetcher(&self) -> JoinHandle<anyhow::Result<Report>> {
        let (settings, sources) = (self.settings.clone(), self.sources().await);
        let (queue, database) = (self.queue.clone(), self.ledger.database().clone());
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move { run(&settings, sources, queue, &database, 7, &shutdown).await })
    }

    /// Commits every chunk until the test ends, and checks its watermark.
    pub(crate) fn spawn_writer(&self) {
        let (queue, ledger, epoch) = (self.queue.clone(), self.ledger.clone(), self.epoch.id);
        let received = self.received.clone();
        tokio::spawn(async move {
            loop {
                for delivery in queue.receive(3).await.unwrap() {
                    let chunk = delivery.chunk.clone();
                    let settled = ledger.objects.settled().await.unwrap();
                    assert!(chunk.settled <= settled && chunk.settled <= chunk.object);
                    let rows = vec![rows(&chunk)];
                    let committed = ledger.chunks.commit(epoch, &products(), rows).await;
                    committed.unwrap();
                    received.lock().unwrap().push(chunk);
                    delivery.ack().await.unwrap();
                }
            }
        });
    }

    /// Commits a chunk that another fetcher published.
    pub(crate) async fn commit(&self, object: i64, start: u64, lines: u32) {
        let first_line = u32::try_from(start / 10).unwrap() + 1;
        self.commit_chunk(object, start, start + u64::from(lines) * 10, first_line, lines).await;
    }

    pub(crate) async fn commit_chunk(
        &self,
        object: i64,
        start: u64,
        end: u64,
        first_line: u32,
        lines: u32,
    ) {
        let incarnation = self.incarnation(object).await;
        let range = ChunkRange {
            object: ObjectId::new(object).unwrap(),
            incarnation,
            start,
            end,
            first_line,
            lines,
        };
        let rows = vec![ChunkRows {
            range,
            rows: Vec::new(),
            unchanged: lines.into(),
            superseded: 0,
            replacements: Vec::new(),
            history: Vec::new(),
            rejected: Vec::new(),
            blank: 0,
            superseded_by: Vec::new(),
            unknown: UnknownFields::default(),
        }];
        let products = products();
        let committed = self.ledger.chunks.commit(self.epoch.id, &products, rows);
        committed.await.unwrap();
    }

    async fn incarnation(&self, object: i64) -> String {
        use sea_orm::EntityTrait;
        let found = jetline_store::entities::objects::Entity::find_by_id(object)
            .one(self.ledger.database().connection())
            .await;
        found.unwrap().unwrap().incarnation
    }

    /// The chunks that were received, as object and start; each once.
    pub(crate) fn starts(&self) -> Vec<(i64, u64)> {
        let received = self.received.lock().unwrap();
        let mut starts: Vec<_> =
            received.iter().map(|chunk| (chunk.object.get(), chunk.start)).collect();
        starts.sort_unstable();
        starts
    }

    /// The concatenated bodies of an object's received chunks.
    pub(crate) fn content(&self, object: i64) -> Vec<u8> {
        let received = self.received.lock().unwrap();
        let mut chunks: Vec<_> =
            received.iter().filter(|chunk| chunk.object.get() == object).collect();
        chunks.sort_by_key(|chunk| chunk.start);
        chunks.iter().flat_map(|chunk| chunk.body.to_vec()).collect()
    }
}

pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < end, "timeout waiting until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a condition on the ledger holds.
pub(crate) async fn until(scene: &Scene, sql: &str) {
    let end = Instant::now() + TIMEOUT;
    while !holds(scene, sql).await {
        assert!(Instant::now() < end, "timeout waiting for: {sql}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn holds(scene: &Scene, sql: &str) -> bool {
    use sea_orm::{ConnectionTrait, DbBackend, Statement};
    let query = Statement::from_string(DbBackend::Sqlite, sql);
    let row = scene.ledger.database().connection().query_one_raw(query).await;
    let row = row.unwrap();
    row.is_some_and(|row| row.try_get_by_index::<i64>(0).unwrap() == 1)
}

fn products() -> Arc<Dataset> {
    Datasets::built_in().unwrap().get("products").unwrap().clone()
}

pub(crate) fn settings() -> FetcherSettings {
    FetcherSettings {
        order_by: OrderBy::Time,
        keep_rejects: Keep::Forever,
        keep_objects: Keep::Forever,
        redact_files: false,
        source: vec![format!("s3://{BUCKET}").parse().unwrap()],
        dataset: Some("products".to_owned()),
        watch: None,
        chunk_bytes: CHUNK,
        chunk_lines: NonZeroU32::MAX,
        max_line_bytes: 50,
        fetch_objects: NonZeroUsize::MIN,
        fetch_batch: NonZeroUsize::MIN.saturating_add(3),
        publish_window: NonZeroUsize::MIN.saturating_add(3),
        lease: Duration::from_secs(30),
        reconcile_after: Duration::from_millis(300),
        zstd_window: 128 << 20,
        max_rejects: None,
    }
}

/// `count` lines of ten bytes.
pub(crate) fn lines(count: u32) -> Vec<u8> {
    (1..=count).flat_map(|line| format!("{line:09}\n").into_bytes()).collect()
}

pub(crate) async fn gzip(content: &[u8]) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut stored = Vec::new();
    let mut encoder = async_compression::tokio::bufread::GzipEncoder::new(content);
    encoder.read_to_end(&mut stored).await.unwrap();
    stored
}

fn rows(chunk: &Chunk) -> ChunkRows {
    ChunkRows {
        range: chunk.range(),
        rows: Vec::new(),
        unchanged: chunk.lines.into(),
        superseded: 0,
        replacements: Vec::new(),
        history: Vec::new(),
        rejected: Vec::new(),
        blank: 0,
        superseded_by: Vec::new(),
        unknown: UnknownFields::default(),
    }
}

/// A queue that loses selected chunks, once each.
pub(crate) struct LossyQueue {
    queue: InProcess,
    lose: Mutex<HashSet<u64>>,
    error: Mutex<Option<fn() -> Error>>,
}

impl LossyQueue {
    fn new(capacity: u32) -> Self {
        Self { queue: InProcess::new(capacity), lose: Mutex::default(), error: Mutex::default() }
    }

    /// Loses the chunks that start at these offsets.
    pub(crate) fn lose(&self, starts: &[u64]) {
        self.lose.lock().unwrap().extend(starts);
    }

    /// Sets the error of publishing, if it fails.
    pub(crate) fn set_error(&self, error: Option<fn() -> Error>) {
        *self.error.lock().unwrap() = error;
    }
}

#[async_trait]
impl Queue for LossyQueue {
    async fn publish(&self, chunk: Chunk) -> Result<PublishAck, Error> {
        if let Some(error) = *self.error.lock().unwrap() {
            return Ok(Box::pin(async move { Err(error()) }));
        }
        if self.lose.lock().unwrap().remove(&chunk.start) {
            return Ok(Box::pin(async { Ok(()) }));
        }
        self.queue.publish(chunk).await
    }

    async fn receive(&self, max: usize) -> Result<Vec<ReceivedChunk>, Error> {
        self.queue.receive(max).await
    }

    async fn pending(&self, objects: &[ObjectId]) -> Result<Vec<u64>, Error> {
        self.queue.pending(objects).await
    }

    fn max_body_bytes(&self) -> usize {
        self.queue.max_body_bytes()
    }

    fn destination(&self) -> QueueDestination {
        self.queue.destination()
    }

    fn wakeup(&self, subject: Subject) -> Wakeup {
        self.queue.wakeup(subject)
    }
}
