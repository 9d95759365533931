//! The API on a port.

use std::time::Duration;

use clap::Parser;
use futures::future::join_all;
use jetline_api::{Changes, DatabaseSettings, bind, open};
use jetline_runtime::{Shutdown, settings::SecretUrl};
use jetline_testkit::postgres::{PostgresServer, TemporaryDatabase};
use sea_orm::{ConnectionTrait, TransactionTrait};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixtures::{Answer, TestApi, client_with, metrics, settings};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    database: DatabaseSettings,
}

pub(crate) fn database(url: Option<&str>, read_url: Option<&str>) -> DatabaseSettings {
    let mut settings = Cli::parse_from(["test"]).database;
    settings.database_url = url.map(|url| SecretUrl::from(url.to_owned()));
    settings.database_read_url = read_url.map(|url| SecretUrl::from(url.to_owned()));
    settings
}

#[tokio::test]
async fn requests_are_served_on_the_port_until_the_soft_shutdown() {
    let base = TestApi::sqlite().await;
    let shutdown = Shutdown::new();
    let api = bind(&settings(), &base.database(), Changes::default(), metrics(), shutdown.clone())
        .await
        .unwrap();
    let address = api.address();
    let serving = tokio::spawn(api.serve());

    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");

    shutdown.soft.cancel();
    serving.await.unwrap();
    assert!(shutdown.drained().await);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn hard_shutdown_does_not_wait_for_connections() {
    let base = TestApi::sqlite().await;
    let shutdown = Shutdown::new();
    let api = bind(&settings(), &base.database(), Changes::default(), metrics(), shutdown.clone())
        .await
        .unwrap();
    let mut half = TcpStream::connect(api.address()).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let serving = tokio::spawn(api.serve());
    shutdown.hard.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn error_for_a_port_in_use_names_the_setting() {
    let base = TestApi::sqlite().await;
    let bind = async |settings| {
        bind(&settings, &base.database(), Changes::default(), metrics(), Shutdown::new()).await
    };
    let first = bind(settings()).await.unwrap();
    let mut taken = settings();
    taken.listen = first.address();
    let error = format!("{:#}", bind(taken).await.err().unwrap());
    assert!(error.contains("LISTEN") && error.contains(&first.address().to_string()), "{error}");
}

#[tokio::test]
async fn error_for_a_missing_users_file_names_the_setting() {
    let base = TestApi::sqlite().await;
    let mut settings = settings();
    settings.users_file = Some("/nowhere/users".into());
    let bound =
        bind(&settings, &base.database(), Changes::default(), metrics(), Shutdown::new()).await;
    let error = format!("{:#}", bound.err().unwrap());
    assert!(error.contains("/nowhere/users (USERS_FILE)"), "{error}");
}

#[test]
fn replica_is_preferred_and_errors_name_the_variable() {
    let url = |settings: &DatabaseSettings| {
        let url = settings.url().map(SecretUrl::expose);
        url.map(str::to_owned).map_err(|error| format!("{error:#}"))
    };
    let (main, replica) = (Some("postgres://main/db"), Some("postgres://replica/db"));
    assert_eq!(url(&database(main, replica)).as_deref(), Ok("postgres://replica/db"));
    assert_eq!(url(&database(main, None)).as_deref(), Ok("postgres://main/db"));
    assert!(url(&database(None, None)).unwrap_err().contains("DATABASE_URL is not set"));
    let wrong = url(&database(Some("mysql://ann:hunter2@db/x"), None)).unwrap_err();
    assert!(wrong.contains("DATABASE_URL") && !wrong.contains("hunter2"), "{wrong}");
}

#[tokio::test]
async fn service_starts_while_its_database_is_unavailable_and_is_not_ready() {
    let url = "postgres://ann:hunter2@127.0.0.1:1/none";
    let mut api = settings();
    api.request_timeout = Duration::from_secs(2);
    let db = open(&database(Some(url), None), &api).await.unwrap();
    let client = client_with(db, None, &api);
    let answer = Answer::of(client.get("/readyz").send().await).await;
    let detail = answer.problem(503);
    assert!(!detail.contains("hunter2"), "{detail}");
}

#[tokio::test]
async fn service_is_not_ready_while_a_table_that_requests_read_is_locked() {
    let base = TestApi::postgres().await;
    for table in ["products", "objects", "rejected_lines"] {
        assert_eq!(base.get("/readyz").await.status, 200, "{table}");
        let lock = base.db.begin().await.unwrap();
        let sql = format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        lock.execute_unprepared(&sql).await.unwrap();
        // Concurrent checks do not use up the pool of ten.
        for ready in join_all((0..20).map(|_| base.get("/readyz"))).await {
            ready.problem(503);
        }
        let other = if table == "objects" { "/products?id=1" } else { "/objects" };
        assert_eq!(base.get(other).await.status, 200, "{table}");
        lock.rollback().await.unwrap();
    }
    assert_eq!(base.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn database_that_is_available_again_is_read() {
    let mut server = PostgresServer::start().unwrap();
    let url = TemporaryDatabase::create_on(&server).await.url();
    let settings_of_database = database(Some(&url), None);
    let connections = settings_of_database.database_connections.get();
    let mut api = settings();
    api.request_timeout = Duration::from_secs(2);
    let db = open(&settings_of_database, &api).await.unwrap();
    let client = client_with(db, None, &api);
    let status = async |path: &str| client.get(path).send().await.0.status().as_u16();
    // There are no records. One record loader has kept its connection.
    let there = [("/products?id=1", 200), ("/products/1", 404)];
    for (path, expected) in there {
        assert_eq!(status(path).await, expected, "{path}");
    }

    server.stop().unwrap();
    for (path, _) in there {
        assert_eq!(status(path).await, 503, "{path}");
    }
    server.start_again().unwrap();
    for (path, expected) in there {
        let mut answers = Vec::new();
        // Each old connection may fail once.
        for _ in 0..=connections {
            answers.push(status(path).await);
        }
        assert_eq!(answers.last(), Some(&expected), "{path}: {answers:?}");
    }
}

#[tokio::test]
async fn record_loaders_leave_connections_for_other_requests() {
    for connections in [1, 2, 4] {
        let database_of_test = TemporaryDatabase::create("api_connections").await;
        let mut settings_of_database = database(Some(&database_of_test.url()), None);
        settings_of_database.database_connections = connections.try_into().unwrap();
        let db = open(&settings_of_database, &settings()).await.unwrap();
        let client = client_with(db, None, &settings());
        let status = async |path: String| client.get(path).send().await.0.status().as_u16();
        let single = (0..300).map(|id| status(format!("/products/{id}")));
        for status in join_all(single).await {
            assert_eq!(status, 404);
        }
        let others = (0..20).map(|_| status("/objects".to_owned()));
        for status in join_all(others).await {
            assert_eq!(status, 200);
        }
    }
}
