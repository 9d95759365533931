//! Databases and private servers.

use jetline_testkit::postgres::{PostgresServer, TemporaryDatabase};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

async fn count(database: &DatabaseConnection, of: &str) -> i64 {
    let sql = format!("SELECT count(*) AS n FROM {of}");
    let row = database
        .query_one_raw(Statement::from_string(DbBackend::Postgres, sql))
        .await
        .unwrap()
        .unwrap();
    row.try_get("", "n").unwrap()
}

#[tokio::test]
async fn every_database_is_migrated_and_separate() {
    let one = TemporaryDatabase::create("one").await;
    let other = TemporaryDatabase::create("one").await;
    let connection = one.connect().await;
    let insert = "INSERT INTO epoch VALUES (1, 'id', 1, 1, 'shared', '', now())";
    connection.execute_unprepared(insert).await.unwrap();
    assert_eq!(count(&connection, "epoch").await, 1);
    assert_eq!(count(&other.connect().await, "epoch").await, 0);
    assert_eq!(count(&other.connect().await, "products").await, 0);
}

#[tokio::test]
async fn dropped_database_is_removed_although_it_is_in_use() {
    let database = TemporaryDatabase::create("dropped").await;
    let connection = database.connect().await;
    let observer = TemporaryDatabase::create("observer").await.connect().await;
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    let named = format!("pg_database WHERE datname = '{name}'");
    drop(database);
    drop(connection);
    let other = TemporaryDatabase::create("observer").await;
    assert_eq!(count(&other.connect().await, &named).await, 0);
    drop(observer);
}

#[tokio::test]
async fn private_server_keeps_what_was_committed_over_crash_and_restart() {
    let mut server = PostgresServer::start().unwrap();
    let database = TemporaryDatabase::create_on(&server).await;
    let connection = database.connect().await;
    connection
        .execute_unprepared("CREATE TABLE kept AS SELECT generate_series(1, 1000)")
        .await
        .unwrap();
    let first = server.pid();

    server.crash().unwrap();
    assert!(server.output().contains("automatic recovery in progress"));
    assert_eq!(count(&database.connect().await, "kept").await, 1000);

    server.restart().unwrap();
    assert_ne!(server.pid(), first);
    assert_eq!(count(&database.connect().await, "kept").await, 1000);
}

#[tokio::test]
async fn stopped_server_refuses_until_it_is_started_again() {
    let mut server = PostgresServer::start_with(&[("fsync", "off")]).unwrap();
    let database = TemporaryDatabase::create_on(&server).await;
    server.stop().unwrap();
    assert_eq!(server.pid(), None);
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.start_again().unwrap();
    assert_eq!(count(&database.connect().await, "products").await, 0);
}

#[test]
fn server_leaves_nothing_behind() {
    let server = PostgresServer::start_with(&[("fsync", "off")]).unwrap();
    let pid = server.pid().unwrap();
    let directory = server.directory().to_owned();
    assert!(directory.exists());
    drop(server);
    assert!(!directory.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
