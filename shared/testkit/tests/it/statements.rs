//! The statement proxy, between sqlx and a real server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{join_all, try_join};
use jetline_testkit::postgres::{
    TemporaryDatabase,
    statements::{Action, StatementHook, StatementProxy},
};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, Statement,
    TransactionTrait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use url::Url;

const INSERT: &str = "INSERT INTO kept VALUES ($1)";
/// The timeout of everything here.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}
use Moment::{After, Before};

/// Records every statement, and resets the connection at one.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<(Moment, String)>>,
    cut: Option<(Moment, &'static str)>,
}

impl Recorder {
    fn resetting(moment: Moment, sql: &'static str) -> Arc<Self> {
        Arc::new(Self { cut: Some((moment, sql)), ..Self::default() })
    }

    fn note(&self, moment: Moment, sql: &str) -> Action {
        self.seen.lock().unwrap().push((moment, sql.to_owned()));
        match self.cut {
            Some((when, what)) if when == moment && sql.contains(what) => Action::Reset,
            _ => Action::Pass,
        }
    }

    fn seen(&self, moment: Moment) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let at = seen.iter().filter(|(when, _)| *when == moment);
        at.map(|(_, sql)| sql.clone()).collect()
    }

    fn count(&self, moment: Moment, sql: &str) -> usize {
        self.seen(moment).iter().filter(|seen| *seen == sql).count()
    }

    fn clear(&self) {
        self.seen.lock().unwrap().clear();
    }
}

#[async_trait]
impl StatementHook for Recorder {
    async fn before(&self, _: u64, sql: &str) -> Action {
        self.note(Before, sql)
    }

    async fn after(&self, _: u64, sql: &str) -> Action {
        self.note(After, sql)
    }
}

/// A table, directly and through a proxy.
struct Scene {
    direct: DatabaseConnection,
    through: DatabaseConnection,
    proxy: StatementProxy,
    _database: TemporaryDatabase,
}

impl Scene {
    async fn with_hook(watch: Arc<dyn StatementHook>) -> Self {
        let database = TemporaryDatabase::create("statements").await;
        let direct = database.connect().await;
        let table = "CREATE TABLE kept (n bigint)";
        direct.execute_unprepared(table).await.unwrap();
        let mut url: Url = database.url().parse().unwrap();
        let server = SocketAddr::from(([127, 0, 0, 1], url.port().unwrap()));
        let proxy = StatementProxy::start(server, watch).await.unwrap();
        url.set_port(Some(proxy.address().port())).unwrap();
        let mut options = ConnectOptions::new(url);
        options.max_connections(30).sqlx_logging(false);
        let through = sea_orm::Database::connect(options).await.unwrap();
        Self { direct, through, proxy, _database: database }
    }

    async fn kept(&self) -> i64 {
        count(&self.direct).await.unwrap()
    }
}

async fn count(database: &DatabaseConnection) -> Result<i64, DbErr> {
    let row = database.query_one_raw(statement("SELECT count(*) AS n FROM kept", vec![]));
    row.await?.unwrap().try_get("", "n")
}

fn statement(sql: &str, values: Vec<sea_orm::Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

async fn insert(into: &impl ConnectionTrait, n: i64) -> Result<ExecResult, DbErr> {
    into.execute_raw(statement(INSERT, vec![n.into()])).await
}

async fn insert_in_transaction(database: &DatabaseConnection, n: i64) -> Result<(), DbErr> {
    let transaction = database.begin().await?;
    insert(&transaction, n).await?;
    transaction.commit().await
}

#[tokio::test]
async fn hook_is_called_before_and_after_every_statement() {
    let recorder = Arc::new(Recorder::default());
    let scene = Scene::with_hook(recorder.clone()).await;
    for prepared_already in [false, true] {
        recorder.clear();
        let transaction = scene.through.begin().await.unwrap();
        for n in 0..3 {
            insert(&transaction, n).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let all = ["BEGIN", INSERT, INSERT, INSERT, "COMMIT"];
        let mut expected = Vec::new();
        for sql in all {
            expected.extend([(Before, sql.to_owned()), (After, sql.to_owned())]);
        }
        let seen = recorder.seen.lock().unwrap().clone();
        assert_eq!(seen, expected, "prepared already: {prepared_already}");
    }
    assert_eq!(scene.kept().await, 6);
}

#[tokio::test]
async fn hook_sees_the_rollback_of_a_dropped_transaction() {
    let recorder = Arc::new(Recorder::default());
    let scene = Scene::with_hook(recorder.clone()).await;
    let transaction = scene.through.begin().await.unwrap();
    insert(&transaction, 1).await.unwrap();
    drop(transaction);
    assert_eq!(count(&scene.through).await.unwrap(), 0);
    assert_eq!(recorder.count(After, "ROLLBACK"), 1);
}

#[tokio::test]
async fn failed_statement_is_seen_and_has_no_other_effect() {
    let recorder = Arc::new(Recorder::default());
    let scene = Scene::with_hook(recorder.clone()).await;
    let wrong = "SELECT 1 / $1";
    let refused = statement(wrong, vec![0_i32.into()]);
    let error = scene.through.execute_raw(refused).await.unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert_eq!(recorder.count(After, wrong), 1);
    insert_in_transaction(&scene.through, 1).await.unwrap();
    assert_eq!(scene.kept().await, 1);
}

#[tokio::test]
async fn reset_before_commit_rolls_back() {
    let recorder = Recorder::resetting(Before, "COMMIT");
    let scene = Scene::with_hook(recorder.clone()).await;
    insert_in_transaction(&scene.through, 1).await.unwrap_err();
    assert_eq!(recorder.count(Before, "COMMIT"), 1);
    assert_eq!(recorder.count(After, "COMMIT"), 0);
    // The row lock is released with the transaction: it cannot commit later.
    let alone = "LOCK TABLE kept IN ACCESS EXCLUSIVE MODE; DELETE FROM kept";
    let deleted = scene.direct.execute_unprepared(alone).await.unwrap();
    assert_eq!(deleted.rows_affected(), 0);
}

#[tokio::test]
async fn reset_after_commit_loses_only_the_reply() {
    let recorder = Recorder::resetting(After, "COMMIT");
    let scene = Scene::with_hook(recorder.clone()).await;
    insert_in_transaction(&scene.through, 1).await.unwrap_err();
    assert_eq!(recorder.count(After, "COMMIT"), 1);
    assert_eq!(scene.kept().await, 1);
    assert_eq!(count(&scene.through).await.unwrap(), 1);
}

/// Holds statements with one text until they are released.
struct Gate {
    held: Semaphore,
    open: Semaphore,
}

#[async_trait]
impl StatementHook for Gate {
    async fn before(&self, _: u64, sql: &str) -> Action {
        if sql == INSERT {
            self.held.add_permits(1);
            self.open.acquire().await.unwrap().forget();
        }
        Action::Pass
    }

    async fn after(&self, _: u64, _: &str) -> Action {
        Action::Pass
    }
}

#[tokio::test]
async fn held_statement_waits_and_others_do_not() {
    let gate = Arc::new(Gate { held: Semaphore::new(0), open: Semaphore::new(0) });
    let scene = Scene::with_hook(gate.clone()).await;
    let inserting = insert(&scene.through, 1);
    let meanwhile = async {
        gate.held.acquire().await.unwrap().forget();
        assert_eq!(count(&scene.through).await?, 0);
        gate.open.add_permits(1);
        Ok(())
    };
    try_join(inserting, meanwhile).await.unwrap();
    assert_eq!(scene.kept().await, 1);
}

#[tokio::test]
async fn many_connections_work_concurrently() {
    let recorder = Arc::new(Recorder::default());
    let scene = Scene::with_hook(recorder.clone()).await;
    let clients = (0..30).map(async |client| {
        for n in 0..20 {
            insert_in_transaction(&scene.through, client * 100 + n).await.unwrap();
        }
    });
    join_all(clients).await;
    assert_eq!(scene.kept().await, 600);
    assert_eq!(recorder.count(Before, INSERT), 600);
    assert_eq!(recorder.count(After, "COMMIT"), 600);
}

#[tokio::test]
async fn large_statements_and_responses_pass() {
    let scene = Scene::with_hook(Arc::new(Recorder::default())).await;
    let text = "x".repeat(20 << 20);
    let echo = statement("SELECT $1 AS text", vec![text.as_str().into()]);
    let row = scene.through.query_one_raw(echo).await.unwrap().unwrap();
    assert!(row.try_get::<String>("", "text").unwrap() == text);
}

#[tokio::test]
async fn response_above_the_buffer_limit_is_an_error() {
    let scene = Scene::with_hook(Arc::new(Recorder::default())).await;
    let sql = "SELECT repeat('x', 1 << 20) FROM generate_series(1, 65)";
    let error = scene.through.query_all_raw(statement(sql, vec![])).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the proxy buffers at most 67108864 bytes"), "{error}");
}

#[tokio::test]
async fn copy_above_the_buffer_limit_passes() {
    let recorder = Arc::new(Recorder::default());
    let scene = Scene::with_hook(recorder.clone()).await;
    let pool = scene.through.get_postgres_connection_pool();
    let mut connection = pool.acquire().await.unwrap();
    let sql = "COPY kept FROM STDIN";
    let mut copy = connection.copy_in_raw(sql).await.unwrap();
    let block = "1234567\n".repeat(100_000);
    for _ in 0..5 {
        copy.send(block.as_bytes()).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 500_000);
    assert_eq!(recorder.count(After, sql), 1);

    let sql = "COPY (SELECT repeat('x', 1 << 20) FROM generate_series(1, 70)) TO STDOUT";
    let mut length = 0;
    {
        let mut blocks = connection.copy_out_raw(sql).await.unwrap();
        while let Some(block) = futures::StreamExt::next(&mut blocks).await {
            length += block.unwrap().len();
        }
    }
    assert_eq!(length, 70 * ((1 << 20) + 1));
    assert_eq!(recorder.count(After, sql), 1);
    drop(connection);
    assert_eq!(count(&scene.through).await.unwrap(), 500_000);
}

#[tokio::test]
async fn shutdown_of_the_server_reaches_the_client() {
    let scene = Scene::with_hook(Arc::new(Recorder::default())).await;
    let suicide = "SELECT pg_terminate_backend(pg_backend_pid())";
    let error = scene.through.execute_unprepared(suicide).await.unwrap_err();
    assert!(error.to_string().contains("terminating connection"), "{error}");
    assert_eq!(count(&scene.through).await.unwrap(), 0);
}

#[tokio::test]
async fn dropped_proxy_closes_its_connections() {
    let scene = Scene::with_hook(Arc::new(Recorder::default())).await;
    let address = scene.proxy.address();
    let transaction = scene.through.begin().await.unwrap();
    insert(&transaction, 1).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    // Declined encryption shows that the proxy has accepted the connection.
    let request = [0, 0, 0, 8, 4, 210, 22, 47];
    idle.write_all(&request).await.unwrap();
    assert_eq!(idle.read_u8().await.unwrap(), b'N');

    drop(scene.proxy);
    let mut rest = Vec::new();
    let closed = timeout(TIMEOUT, idle.read_to_end(&mut rest)).await;
    let _ = closed.expect("the connection ends");
    insert(&transaction, 2).await.unwrap_err();
    TcpStream::connect(address).await.unwrap_err();
    let alone = "LOCK TABLE kept IN ACCESS EXCLUSIVE MODE; DELETE FROM kept";
    let deleted = scene.direct.execute_unprepared(alone).await.unwrap();
    assert_eq!(deleted.rows_affected(), 0);
}
