//! The database and the dedup store that schedules run on, one after another.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use jetline_dedup::{Dedup, Redis, RedisConfig};
use jetline_migrations::migrate;
use jetline_store::{Database, DeclarationFile, Ledger};
use jetline_testkit::{dedup::InMemory, postgres::TemporaryDatabase, redis::RedisServer};
use sea_orm::{ConnectionTrait, DbBackend, TransactionTrait};
use tokio::sync::RwLock;

use super::{
    declarations::{Declaration, Kind},
    files::REFUSED,
    non_atomic::NonAtomic,
    rule::{Rule, WithoutRule},
};

/// The tables of the ledger that a backup of the database holds.
const LEDGER: [&str; 6] =
    ["objects", "chunks", "rejected_lines", "unknown_fields", "epoch", "declarations"];

/// Held shared by each schedule. Schedules on databases in this process compute all the time, and a new process of PostgreSQL gets
/// no core beside them for longer than a connection may take.
pub(crate) static RUNNING: RwLock<()> = RwLock::const_new(());

/// The connections to PostgreSQL.
const CONNECTIONS: u32 = 4;

/// A database and a dedup store.
pub(crate) struct Servers {
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    /// The tables that a backup of the database holds.
    tables: Vec<String>,
    _database: Option<TemporaryDatabase>,
}

/// The dedup store.
pub(crate) enum Store {
    Memory(Arc<InMemory>),
    Redis(Arc<Redis>, RedisServer),
    NonAtomic(Arc<NonAtomic>),
}

impl Store {
    pub(crate) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub(crate) async fn redis() -> Self {
        let server = RedisServer::start().unwrap();
        let config = RedisConfig::default();
        let redis = Redis::connect(&server.url(), &config).await.unwrap();
        Self::Redis(Arc::new(redis), server)
    }

    /// The store as writers use it, with a rule disabled.
    pub(crate) fn dedup(&self, without: Option<Rule>) -> Arc<dyn Dedup> {
        let dedup: Arc<dyn Dedup> = match self {
            Self::Memory(store) => store.clone(),
            Self::Redis(store, _) => store.clone(),
            Self::NonAtomic(store) => store.clone(),
        };
        match without {
            Some(rule) => Arc::new(WithoutRule::new(dedup, rule)),
            None => dedup,
        }
    }

    /// Loses all entries.
    pub(crate) fn lose(&self) {
        match self {
            Self::Memory(store) => store.lose(),
            Self::Redis(_, server) => server.flush_all().unwrap(),
            Self::NonAtomic(store) => store.lose(),
        }
    }
}

impl Servers {
    /// On a database in this process.
    pub(crate) async fn sqlite(store: Store) -> Self {
        let db = Database::connect("sqlite::memory:", 1).await.unwrap();
        migrate(db.connection()).await.unwrap();
        Self::new(db, store, None).await
    }

    pub(crate) async fn postgres(store: Store) -> Self {
        let _alone = RUNNING.write().await;
        let database = TemporaryDatabase::create("order").await;
        let db = Database::connect(&database.url(), CONNECTIONS).await.unwrap();
        // All are opened now.
        let connections = join_all((0..CONNECTIONS).map(|_| db.connection().begin())).await;
        assert!(connections.iter().all(Result::is_ok));
        drop(connections);
        Self::new(db, store, Some(database)).await
    }

    async fn new(db: Database, store: Store, database: Option<TemporaryDatabase>) -> Self {
        // The tables have all columns from the beginning, so that no schedule has to create or extend one.
        let widest = Declaration::widest();
        let declared: Vec<DeclarationFile> = Kind::all().map(|kind| kind.file(&widest)).collect();
        db.declare(&declared).await.unwrap();
        let records = Kind::all().map(|kind| kind.table());
        let tables = LEDGER.map(str::to_owned).into_iter().chain(records).collect();
        let servers = Self { ledger: Ledger::new(&db, noon), store, tables, _database: database };
        for kind in Kind::all() {
            servers.refuse(&kind.table()).await;
        }
        for table in &servers.tables {
            let copy = format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}");
            servers.sql(&copy).await;
        }
        servers
    }

    /// Makes the database refuse rows with the content of a refused line.
    async fn refuse(&self, table: &str) {
        let db = self.ledger.database().connection();
        if db.get_database_backend() != DbBackend::Sqlite {
            let check = format!(
                "ALTER TABLE {table} ADD CHECK (text <> '{REFUSED}'),
                     ADD CHECK (jetline_extra ->> 'text' <> '{REFUSED}')"
            );
            return self.sql(&check).await;
        }
        for event in ["INSERT", "UPDATE"] {
            let trigger = format!(
                "CREATE TRIGGER {table}_{event} BEFORE {event} ON {table}
                 WHEN '{REFUSED}' IN (NEW.text, NEW.jetline_extra ->> 'text')
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            );
            self.sql(&trigger).await;
        }
    }

    /// Empties everything for the next schedule, which has this dataset.
    pub(crate) async fn clear(&self, kind: &Kind, declaration: &Declaration) {
        let deletes = self.tables.iter().map(|table| format!("DELETE FROM {table};"));
        let (table, text) = (kind.table(), kind.text(declaration));
        let declare = format!(
            "INSERT INTO declarations (number, dataset, declaration) VALUES (1, '{table}', '{text}')"
        );
        self.sql(&(deletes.collect::<String>() + &declare)).await;
        self.store.lose();
    }

    /// Backs up the database.
    pub(crate) async fn back_up(&self) {
        let copies = self.tables.iter().map(|table| {
            format!("DELETE FROM saved_{table}; INSERT INTO saved_{table} SELECT * FROM {table};")
        });
        self.sql(&copies.collect::<String>()).await;
    }

    /// Restores the backup. A restored server has another start time, unless `hide_restart` is set.
    pub(crate) async fn restore(&self, hide_restart: bool) {
        let copies = self.tables.iter().map(|table| {
            format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved_{table};")
        });
        self.sql(&copies.collect::<String>()).await;
        if !hide_restart {
            self.sql("UPDATE epoch SET server_started_at = 'before the restore'").await;
        }
    }

    pub(crate) async fn sql(&self, sql: &str) {
        let db = self.ledger.database().connection();
        db.execute_unprepared(sql).await.unwrap();
    }
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}
