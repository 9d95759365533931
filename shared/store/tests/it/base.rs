//! Databases of both kinds, and what goes into them: objects of lines that have ten bytes each.

use std::{convert::Infallible, num::NonZeroU32, time::Duration};

use chrono::{DateTime, Utc};
use jetline_migrations::migrate;
use jetline_records::{
    Dataset, Epoch, EpochId, Mode, ObjectId, Position, Record, Registry, Table, products,
};
use jetline_store::{
    ChunkEntry, ChunkOutcome, ChunkRows, CommitOutcome, Counts, Judged, Ledger, connect,
    entities::{chunks, objects},
    ledger::{Batch, NewObject, Reading},
    read::objects::{ObjectStatus, find},
};
use jetline_testkit::postgres::{Database, PostgresServer};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, QueryOrder, Statement};
use tempfile::TempDir;

pub(crate) const ROOT: &str = "s3://bucket";
pub(crate) const LINE: u64 = 10;
/// How long objects are leased.
pub(crate) const TERM: Duration = Duration::from_mins(1);
/// The oldest object alone.
pub(crate) const ONE: Batch = Batch {
    objects: 1,
    bytes: 0,
};

/// A database that lives as long as the test.
pub(crate) struct Base {
    pub(crate) ledger: Ledger,
    pub(crate) url: String,
    _sqlite: Option<TempDir>,
    _postgres: Option<Database>,
}

pub(crate) async fn both() -> [Base; 2] {
    [sqlite().await, postgres().await]
}

pub(crate) async fn sqlite() -> Base {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let base = Base::connect(url, Some(directory), None).await;
    migrate(base.db()).await.unwrap();
    base
}

pub(crate) async fn postgres() -> Base {
    let database = Database::create("store").await;
    Base::connect(database.url(), None, Some(database)).await
}

/// A database by the URL of what stands before it.
pub(crate) async fn through(url: String, database: Database) -> Base {
    Base::connect(url, None, Some(database)).await
}

/// On a server of the test's own.
pub(crate) async fn postgres_on(server: &PostgresServer) -> Base {
    let database = Database::create_on(server).await;
    Base::connect(database.url(), None, Some(database)).await
}

impl Base {
    async fn connect(url: String, sqlite: Option<TempDir>, postgres: Option<Database>) -> Self {
        Self {
            ledger: Ledger::new(connect(&url, 8).await.unwrap(), Utc::now),
            url,
            _sqlite: sqlite,
            _postgres: postgres,
        }
    }

    /// The same database, after its server was away.
    pub(crate) async fn connected_again(self) -> Self {
        Self {
            ledger: Ledger::new(connect(&self.url, 8).await.unwrap(), Utc::now),
            ..self
        }
    }

    /// The same database, for a user whose password is the name.
    pub(crate) async fn connected_as(self, user: &str) -> Self {
        let mut url = url::Url::parse(&self.url).unwrap();
        url.set_username(user).unwrap();
        url.set_password(Some(user)).unwrap();
        let ledger = Ledger::new(connect(url.as_str(), 2).await.unwrap(), Utc::now);
        Self { ledger, ..self }
    }

    /// A database with so many objects, and an epoch in which claims are made.
    pub(crate) async fn with_objects(self, count: i64) -> (Self, Epoch) {
        register(&self.ledger, count).await;
        let epoch = begin(&self.ledger, Mode::Shared, None, 1).await;
        (self, epoch)
    }

    pub(crate) fn db(&self) -> &DatabaseConnection {
        self.ledger.connection()
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.db().get_database_backend()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.db().execute_unprepared(sql).await.unwrap();
    }

    /// The first number that a query finds.
    pub(crate) async fn number(&self, sql: &str) -> Option<i64> {
        let query = Statement::from_string(self.backend(), sql);
        let row = self.db().query_one_raw(query).await.unwrap()?;
        row.try_get_by_index(0).unwrap()
    }

    pub(crate) async fn position(&self, table: &str, id: i64) -> Option<i64> {
        self.number(&format!("SELECT position FROM {table} WHERE id = {id}"))
            .await
    }

    pub(crate) async fn object(&self, id: i64) -> objects::Model {
        let found = objects::Entity::find_by_id(id).one(self.db()).await;
        found.unwrap().unwrap()
    }

    pub(crate) async fn status(&self, id: i64) -> ObjectStatus {
        find(self.db(), id).await.unwrap().unwrap()
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
        let found = jetline_store::read::records::find::<products::Model>(self.db(), &[id]).await;
        let found = found.unwrap().pop()?;
        Some((found.record.title, found.updated_at))
    }

    /// Commits products under an epoch.
    pub(crate) async fn commit(&self, epoch: &Epoch, chunks: &[ChunkRows]) -> CommitOutcome {
        let table = Table::of::<products::Model>();
        let outcome = self.ledger.commit(epoch.id, &table, chunks.to_vec()).await;
        outcome.unwrap()
    }

    /// Commits one chunk that is new, and says what became of its lines.
    pub(crate) async fn counts(&self, epoch: &Epoch, chunk: ChunkRows) -> Counts {
        let outcome = self.commit(epoch, &[chunk]).await;
        let CommitOutcome::Committed(outcomes) = &outcome else {
            panic!("{outcome:?}");
        };
        let [ChunkOutcome::Committed(counts)] = outcomes[..] else {
            panic!("{outcomes:?}");
        };
        counts
    }
}

pub(crate) const AGAIN: ChunkOutcome = ChunkOutcome::AlreadyCommitted;

pub(crate) fn again() -> CommitOutcome {
    CommitOutcome::Committed(vec![AGAIN])
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

/// Begins the epoch of a number, where none is seen or the seen one is in force.
pub(crate) async fn begin(ledger: &Ledger, mode: Mode, seen: Option<EpochId>, new: u32) -> Epoch {
    let began = ledger.begin_epoch(mode, seen, epoch_id(new), ready());
    began.await.unwrap()
}

pub(crate) fn listed(key: &str, second: i64) -> NewObject {
    NewObject {
        registration: format!("r{key}"),
        dataset: "products".to_owned(),
        root: ROOT.to_owned(),
        key: key.to_owned(),
        etag: "e".to_owned(),
        size: 1_000,
        last_modified: DateTime::from_timestamp(second, 123_456_789).unwrap(),
        chunk_bytes: 100,
        chunk_lines: NonZeroU32::MIN.saturating_add(9),
        max_line_bytes: 50,
    }
}

/// Registers the objects 1, 2, 3, …
pub(crate) async fn register(ledger: &Ledger, count: i64) {
    let objects: Vec<_> = (1..=count).map(|n| listed(&n.to_string(), n)).collect();
    ledger.register(&objects).await.unwrap();
}

pub(crate) fn complete(lines: u64) -> Reading {
    Reading::Complete {
        bytes: lines * LINE,
        lines,
        error: None,
    }
}

pub(crate) fn damaged(lines: u64) -> Reading {
    Reading::Complete {
        bytes: lines * LINE,
        lines,
        error: Some("gzip data is damaged".to_owned()),
    }
}

pub(crate) fn unreadable() -> Reading {
    Reading::Unreadable {
        error: "it was deleted".to_owned(),
    }
}

/// Leases the oldest object that nobody reads.
pub(crate) async fn lease(ledger: &Ledger, owner: &str) -> Option<objects::Model> {
    let leased = ledger.lease(owner, &[ROOT.to_owned()], TERM, ONE).await;
    leased.unwrap().pop()
}

/// Leases the oldest object that nobody reads, and ends its reading.
pub(crate) async fn read(ledger: &Ledger, reading: &Reading) -> ObjectId {
    let object = id(lease(ledger, "me").await.unwrap().id);
    let readings = [(object, reading.clone())];
    assert_eq!(ledger.finish(&readings, "me").await.unwrap(), 1);
    object
}

/// The chunk that begins behind so many lines.
pub(crate) fn entry(object: i64, behind: u32, lines: u32) -> ChunkEntry {
    ChunkEntry {
        object: id(object),
        registration: format!("r{object}"),
        start: u64::from(behind) * LINE,
        end: u64::from(behind + lines) * LINE,
        first_line: behind + 1,
        lines,
    }
}

/// A chunk with a line for each of these products, which are written unless the row has a higher rank.
pub(crate) fn chunk(object: i64, behind: u32, products: &[(i64, &str)]) -> ChunkRows {
    let lines = u32::try_from(products.len()).unwrap();
    let numbers = behind + 1..=behind + lines;
    let rows = products.iter().zip(numbers).map(|((id, title), line)| {
        let product = product(*id, title);
        judged(&product, object, line)
    });
    ChunkRows {
        entry: entry(object, behind, lines),
        rows: rows.collect(),
        unchanged: 0,
        superseded: 0,
        rejected: Vec::new(),
        blank: 0,
        outdone_by: Vec::new(),
    }
}

/// The chunk, with rows of the same content left alone.
pub(crate) fn if_changed(mut chunk: ChunkRows) -> ChunkRows {
    for row in &mut chunk.rows {
        row.if_changed = true;
    }
    chunk
}

/// A chunk of lines that need no row.
pub(crate) fn unchanged(object: i64, behind: u32, lines: u32) -> ChunkRows {
    ChunkRows {
        entry: entry(object, behind, lines),
        rows: Vec::new(),
        unchanged: u64::from(lines),
        superseded: 0,
        rejected: Vec::new(),
        blank: 0,
        outdone_by: Vec::new(),
    }
}

pub(crate) fn judged<R: Record>(record: &R, object: i64, line: u32) -> Judged {
    let mut datasets: Vec<Dataset> = Vec::new();
    datasets.add::<R>();
    Judged {
        row: (datasets[0].parse)(&serde_json::to_vec(record).unwrap()).unwrap(),
        position: Position::new(id(object), line),
        if_changed: false,
    }
}

fn product(id: i64, title: &str) -> products::Model {
    products::Model {
        id,
        title: title.to_owned(),
        price: "7072.16".parse().unwrap(),
        category: "c".to_owned(),
        brand: "b".to_owned(),
        url: "u".to_owned(),
        description: "d".to_owned(),
    }
}

pub(crate) const NOTHING: Counts = Counts {
    inserted: 0,
    updated: 0,
    unchanged: 0,
    superseded: 0,
    rejected: 0,
    blank: 0,
};

/// The first object that may still change.
pub(crate) async fn watermark(ledger: &Ledger) -> i64 {
    ledger.settled().await.unwrap().get()
}
