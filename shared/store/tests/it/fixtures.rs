//! Databases of both kinds, with objects whose lines have ten bytes each.

use std::{convert::Infallible, num::NonZeroU32, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use jetline_core::{
    ChunkRange, Counts, Epoch, EpochId, Key, Mode, ObjectId, ObjectVersion, Position,
};
use jetline_datasets::{Dataset, Datasets, PRODUCTS, Reason, Rejection, UnknownFields};
use jetline_migrations::migrate;
use jetline_store::{
    Catalog, ChunkOutcome, ChunkRows, CommitOutcome, Database, DeclarationFile, KeyClaim, Ledger,
    RejectedLine, UpsertRow,
    catalog::objects::ObjectStatus,
    entities::{chunks, objects},
    objects::{EndedObject, Gap, LeaseLimits, LeasedObject, NewObject, ReadOutcome},
};
use jetline_testkit::postgres::{self, PostgresServer};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QueryOrder, Statement};
use tempfile::TempDir;
use tokio::task::JoinHandle;

pub(crate) const ROOT: &str = "s3://bucket";
pub(crate) const LINE_BYTES: u64 = 10;
/// The term of leases.
pub(crate) const LEASE_TERM: Duration = Duration::from_mins(1);
/// Leases one object.
pub(crate) const ONE_OBJECT: LeaseLimits = LeaseLimits { objects: 1, bytes: 0 };

/// A database that is dropped with the test.
pub(crate) struct TestDatabase {
    pub(crate) ledger: Ledger,
    pub(crate) catalog: Catalog,
    pub(crate) database: Database,
    pub(crate) url: String,
    sqlite: Option<TempDir>,
    postgres: Option<postgres::TemporaryDatabase>,
}

pub(crate) async fn both() -> [TestDatabase; 2] {
    [sqlite().await, postgres().await]
}

pub(crate) async fn sqlite() -> TestDatabase {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let base = TestDatabase::connect(url, Some(directory), None).await;
    migrate(base.db()).await.unwrap();
    base
}

pub(crate) async fn postgres() -> TestDatabase {
    let database = postgres::TemporaryDatabase::create("store").await;
    TestDatabase::connect(database.url(), None, Some(database)).await
}

/// Databases of both kinds; the one of PostgreSQL has not the order of bytes.
pub(crate) async fn both_in_english() -> [TestDatabase; 2] {
    let database = postgres::TemporaryDatabase::create_in_english("store").await;
    [sqlite().await, TestDatabase::connect(database.url(), None, Some(database)).await]
}

/// A database through the URL of a proxy or pooler.
pub(crate) async fn through(url: String, database: postgres::TemporaryDatabase) -> TestDatabase {
    TestDatabase::connect(url, None, Some(database)).await
}

/// A database on the test's own server.
pub(crate) async fn postgres_on(server: &PostgresServer) -> TestDatabase {
    let database = postgres::TemporaryDatabase::create_on(server).await;
    TestDatabase::connect(database.url(), None, Some(database)).await
}

impl TestDatabase {
    async fn connect(
        url: String,
        sqlite: Option<TempDir>,
        postgres: Option<postgres::TemporaryDatabase>,
    ) -> Self {
        let database = Database::connect(&url, 8).await.unwrap();
        Self {
            ledger: Ledger::new(&database, Utc::now),
            catalog: Catalog::new(&database),
            database,
            url,
            sqlite,
            postgres,
        }
    }

    /// The same database with new connections, after its server was unavailable.
    pub(crate) async fn connected_again(self) -> Self {
        Self::connect(self.url, self.sqlite, self.postgres).await
    }

    /// The same database as another user, whose password is the name.
    pub(crate) async fn connected_as(self, user: &str) -> Self {
        let mut url = url::Url::parse(&self.url).unwrap();
        url.set_username(user).unwrap();
        url.set_password(Some(user)).unwrap();
        Self::connect(url.into(), self.sqlite, self.postgres).await
    }

    /// Registers this many objects and begins a shared epoch.
    pub(crate) async fn with_objects(self, count: i64) -> (Self, Epoch) {
        register(&self.ledger, count).await;
        let epoch = begin(&self.ledger, Mode::Shared, None, 1).await;
        (self, epoch)
    }

    pub(crate) fn db(&self) -> &DatabaseConnection {
        self.database.connection()
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.db().get_database_backend()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.db().execute_unprepared(sql).await.unwrap();
    }

    /// The number in the first row of a query.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let statement = Statement::from_string(self.backend(), sql);
        let row = self.db().query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    }

    pub(crate) async fn number(&self, sql: &str) -> Option<i64> {
        let query = Statement::from_string(self.backend(), sql);
        let row = self.db().query_one_raw(query).await.unwrap()?;
        row.try_get_by_index(0).unwrap()
    }

    pub(crate) async fn position(&self, table: &str, id: i64) -> Option<i64> {
        self.number(&format!("SELECT jetline_position FROM {table} WHERE id = {id}")).await
    }

    pub(crate) async fn object(&self, id: i64) -> objects::Model {
        let found = objects::Entity::find_by_id(id).one(self.db()).await;
        found.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, id: i64) -> ObjectStatus {
        self.catalog.object(id).await.unwrap().unwrap()
    }

    /// What is missing of an object.
    pub(crate) async fn gaps(&self, object: i64, total: Option<u64>) -> Vec<Gap> {
        let gaps = self.ledger.objects.gaps(&[(id(object), total)]).await;
        gaps.unwrap().remove(0).unwrap()
    }

    pub(crate) async fn chunks(&self) -> Vec<chunks::Model> {
        chunks::Entity::find()
            .order_by_asc(chunks::Column::ObjectId)
            .order_by_asc(chunks::Column::StartOffset)
            .all(self.db())
            .await
            .unwrap()
    }

    pub(crate) async fn product(&self, id: i64) -> Option<(String, DateTime<Utc>)> {
        let found = self.catalog.records(&products(), vec![Key::Int(id)]).await;
        let found = found.unwrap().pop()?;
        Some((found.values[1].to_text(), found.changed_at))
    }

    /// Commits products under an epoch.
    pub(crate) async fn commit(&self, epoch: &Epoch, chunks: &[ChunkRows]) -> CommitOutcome {
        let outcome = self.ledger.chunks.commit(epoch.id, &products(), chunks.to_vec()).await;
        outcome.unwrap()
    }

    /// Commits one new chunk and returns its counts.
    pub(crate) async fn counts(&self, epoch: &Epoch, chunk: ChunkRows) -> Counts {
        counts_of(&self.commit(epoch, &[chunk]).await)
    }

    /// Commits a chunk in a task.
    pub(crate) fn spawn_commit(
        &self,
        epoch: &Epoch,
        chunk: ChunkRows,
    ) -> JoinHandle<CommitOutcome> {
        let (ledger, epoch) = (self.ledger.clone(), epoch.id);
        tokio::spawn(
            async move { ledger.chunks.commit(epoch, &products(), vec![chunk]).await.unwrap() },
        )
    }

    /// Ends the objects that can end; if that ends the epoch too, the epoch 9 follows.
    pub(crate) async fn settle(&self) -> Vec<EndedObject> {
        self.ledger.objects.settle(epoch_id(9), None).await.unwrap()
    }

    pub(crate) async fn epoch_in_force(&self) -> Epoch {
        self.ledger.epochs.current().await.unwrap().unwrap().epoch
    }

    /// Makes a chunk dead.
    pub(crate) async fn dead_letter(&self, object: i64, lines_before: u32, lines: u32) {
        for _ in 0..2 {
            let chunk = range(object, lines_before, lines);
            self.ledger.chunks.suspect(&chunk, 1).await.unwrap();
        }
    }
}

/// The counts of a commit of one new chunk.
pub(crate) fn counts_of(outcome: &CommitOutcome) -> Counts {
    let CommitOutcome::Committed(chunks) = outcome else { panic!("{outcome:?}") };
    let [ChunkOutcome::Committed(counts)] = chunks[..] else { panic!("{chunks:?}") };
    counts
}

pub(crate) const ALREADY_COMMITTED: ChunkOutcome = ChunkOutcome::AlreadyCommitted;

pub(crate) fn already_committed() -> CommitOutcome {
    CommitOutcome::Committed(vec![ALREADY_COMMITTED])
}

pub(crate) fn id(number: i64) -> ObjectId {
    ObjectId::new(number).unwrap()
}

pub(crate) fn epoch_id(number: u32) -> EpochId {
    format!("{number:016x}").parse().unwrap()
}

pub(crate) async fn ready() -> Result<(), Infallible> {
    Ok(())
}

/// Begins the epoch with this number after `seen`.
pub(crate) async fn begin(ledger: &Ledger, mode: Mode, seen: Option<EpochId>, new: u32) -> Epoch {
    let began = ledger.epochs.begin(mode, seen, epoch_id(new), ready());
    began.await.unwrap()
}

pub(crate) fn listed(key: &str, second: i64) -> NewObject {
    NewObject {
        incarnation: format!("r{key}"),
        dataset: "products".to_owned(),
        is_posted: false,
        version: ObjectVersion {
            root: ROOT.to_owned(),
            key: key.to_owned(),
            etag: "e".to_owned(),
            size: 1_000,
            last_modified: DateTime::from_timestamp(second, 123_456_789).unwrap(),
        },
        chunk_bytes: 100,
        chunk_lines: NonZeroU32::MIN.saturating_add(9),
        max_line_bytes: 50,
    }
}

/// Registers the objects 1, 2, 3, …
pub(crate) async fn register(ledger: &Ledger, count: i64) {
    let objects: Vec<_> = (1..=count).map(|n| listed(&n.to_string(), n)).collect();
    ledger.objects.register(&objects).await.unwrap();
}

pub(crate) fn complete(lines: u64) -> ReadOutcome {
    ReadOutcome::EndReached { bytes: lines * LINE_BYTES, lines, error: None }
}

pub(crate) fn damaged(lines: u64) -> ReadOutcome {
    ReadOutcome::EndReached {
        bytes: lines * LINE_BYTES,
        lines,
        error: Some("gzip data is damaged".to_owned()),
    }
}

pub(crate) fn unreadable() -> ReadOutcome {
    ReadOutcome::Unreadable { error: "it was deleted".to_owned() }
}

/// Leases the oldest free object.
pub(crate) async fn lease(ledger: &Ledger, owner: &str) -> Option<LeasedObject> {
    let leased = ledger.objects.lease(owner, &[ROOT.to_owned()], LEASE_TERM, ONE_OBJECT).await;
    leased.unwrap().pop()
}

/// Leases the oldest free object and finishes it.
pub(crate) async fn read(ledger: &Ledger, reading: &ReadOutcome) -> ObjectId {
    let object = lease(ledger, "me").await.unwrap().id;
    let readings = [(object, reading.clone())];
    assert_eq!(ledger.objects.record_outcomes(&readings, "me").await.unwrap(), 1);
    object
}

/// The range of a chunk that begins after this many lines.
pub(crate) fn range(object: i64, lines_before: u32, lines: u32) -> ChunkRange {
    ChunkRange {
        object: id(object),
        incarnation: format!("r{object}"),
        start: u64::from(lines_before) * LINE_BYTES,
        end: u64::from(lines_before + lines) * LINE_BYTES,
        first_line: lines_before + 1,
        lines,
    }
}

/// A chunk with a line for each of these products, which are written unless the row has a higher rank.
pub(crate) fn chunk(object: i64, lines_before: u32, titles: &[(i64, &str)]) -> ChunkRows {
    let lines = u32::try_from(titles.len()).unwrap();
    let products = self::products();
    let numbers = lines_before + 1..=lines_before + lines;
    let rows = titles
        .iter()
        .zip(numbers)
        .map(|((id, title), line)| upsert_row(&products, &product(*id, title), object, line));
    ChunkRows {
        range: range(object, lines_before, lines),
        rows: rows.collect(),
        unchanged: 0,
        superseded: 0,
        replacements: Vec::new(),
        history: Vec::new(),
        rejected: Vec::new(),
        blank: 0,
        superseded_by: Vec::new(),
        unknown: UnknownFields::default(),
    }
}

/// The chunk, with rows written only if their content changes.
pub(crate) fn if_changed(mut chunk: ChunkRows) -> ChunkRows {
    for row in &mut chunk.rows {
        row.if_changed = true;
        row.claim = KeyClaim::First;
    }
    chunk
}

/// A chunk whose lines are all unchanged.
pub(crate) fn unchanged(object: i64, lines_before: u32, lines: u32) -> ChunkRows {
    ChunkRows { unchanged: u64::from(lines), ..uncounted(object, lines_before, lines) }
}

/// A chunk of lines that are not counted.
pub(crate) fn uncounted(object: i64, lines_before: u32, lines: u32) -> ChunkRows {
    ChunkRows { range: range(object, lines_before, lines), ..chunk(object, lines_before, &[]) }
}

/// A chunk whose lines are all rejected.
pub(crate) fn rejected(
    object: i64,
    lines_before: u32,
    lines: u32,
    reason: Reason,
    message: &str,
) -> ChunkRows {
    let numbers = lines_before + 1..=lines_before + lines;
    let rejected = numbers.map(|line| rejected_line(line, reason, message, b"{}"));
    ChunkRows { rejected: rejected.collect(), ..uncounted(object, lines_before, lines) }
}

pub(crate) fn rejected_line(line: u32, reason: Reason, message: &str, raw: &[u8]) -> RejectedLine {
    RejectedLine {
        line,
        offset: u64::from(line - 1) * LINE_BYTES,
        rejection: Rejection::new(reason, message),
        raw: raw.to_vec(),
    }
}

/// Declares a dataset, which creates its table.
pub(crate) async fn declare(database: &Database, name: &str, text: &str) -> Arc<Dataset> {
    let file = DeclarationFile::new(name, "declaration", text).unwrap();
    let products = DeclarationFile::new("products", "products.toml", PRODUCTS).unwrap();
    database
        .declare(&if name == "products" { vec![file] } else { vec![products, file] })
        .await
        .unwrap();
    database.datasets().await.unwrap().get(name).unwrap().clone()
}

pub(crate) fn products() -> Arc<Dataset> {
    Datasets::built_in().unwrap().get("products").unwrap().clone()
}

pub(crate) fn upsert_row(dataset: &Dataset, record: &str, object: i64, line: u32) -> UpsertRow {
    UpsertRow {
        row: dataset.parse_json(record.as_bytes()).unwrap(),
        position: Position::new(id(object), line),
        if_changed: false,
        claim: KeyClaim::None,
    }
}

/// A chunk with a line for each of these records.
pub(crate) fn rows(dataset: &Dataset, object: i64, records: &[impl AsRef<str>]) -> ChunkRows {
    let lines = u32::try_from(records.len()).unwrap();
    let rows =
        (1..).zip(records).map(|(line, record)| upsert_row(dataset, record.as_ref(), object, line));
    ChunkRows { rows: rows.collect(), ..uncounted(object, 0, lines) }
}

/// Commits one new chunk of a dataset and returns its counts.
pub(crate) async fn commit(
    base: &TestDatabase,
    epoch: &Epoch,
    dataset: &Dataset,
    chunk: ChunkRows,
) -> Counts {
    let outcome = base.ledger.chunks.commit(epoch.id, dataset, vec![chunk]).await;
    counts_of(&outcome.unwrap())
}

/// Like [`commit`], but by the commit that can reject if `rejects`.
pub(crate) async fn commit_either(
    base: &TestDatabase,
    epoch: &Epoch,
    dataset: &Dataset,
    chunk: ChunkRows,
    rejects: bool,
) -> Counts {
    if !rejects {
        return commit(base, epoch, dataset, chunk).await;
    }
    let reject = &mut |refused| panic!("{refused:?}");
    let ledger = &base.ledger.chunks;
    let outcome = ledger.commit_and_reject(epoch.id, dataset, vec![chunk], reject).await;
    counts_of(&outcome.unwrap())
}

fn product(id: i64, title: &str) -> String {
    let title = serde_json::to_string(title).unwrap();
    format!(
        r#"{{"id":{id},"title":{title},"price":7072.16,"category":"c","brand":"b","url":"u","description":"d"}}"#
    )
}

pub(crate) const NO_COUNTS: Counts = Counts {
    inserted: 0,
    updated: 0,
    deleted: 0,
    unchanged: 0,
    superseded: 0,
    rejected: 0,
    blank: 0,
};

/// The settled watermark.
pub(crate) async fn watermark(ledger: &Ledger) -> i64 {
    ledger.objects.settled().await.unwrap().get()
}
