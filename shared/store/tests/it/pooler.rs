//! Connections to PostgreSQL through PgBouncer.

use std::net::SocketAddr;

use jetline_store::{Database, Error};
use jetline_testkit::postgres::{PgBouncer, TemporaryDatabase};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use url::Url;

use crate::fixtures::{TestDatabase, chunk, complete, read, through};

const IGNORED: (&str, &str) = ("ignore_startup_parameters", "extra_float_digits, options");

async fn refused(settings: &[(&str, &str)], connections: u32) -> String {
    let database = TemporaryDatabase::create("pooler").await;
    let pooler = PgBouncer::start(&database.url(), settings).unwrap();
    let error = Database::connect(&pooler.url(), connections).await.unwrap_err();
    assert!(!error.is_transient(), "it would be waited for: {error}");
    assert!(matches!(error, Error::Pooler { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn transaction_pooling_without_prepared_statements_is_refused() {
    for pool in ["1", "2", "20"] {
        for connections in [1, 8] {
            let settings = [
                IGNORED,
                ("pool_mode", "transaction"),
                ("max_prepared_statements", "0"),
                ("default_pool_size", pool),
            ];
            // Older versions do not have the setting.
            let known = &settings[..if is_old() { 2 } else { 3 }];
            let settings = [known, &settings[3..]].concat();
            let error = refused(&settings, connections).await;
            assert!(error.contains("pool_mode = session"), "{error}");
        }
    }
}

/// Whether PgBouncer is too old to support prepared statements.
fn is_old() -> bool {
    let program = jetline_testkit::process::program("pgbouncer").unwrap();
    let output = std::process::Command::new(program).arg("--version").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let minor = text
        .split_once("PgBouncer 1.")
        .and_then(|(_, version)| version.split('.').next()?.trim().parse().ok());
    minor.is_some_and(|minor: u32| minor < 21)
}

#[tokio::test]
async fn error_for_a_pooler_that_refuses_startup_parameters_names_the_setting() {
    let error = refused(&[("pool_mode", "session")], 8).await;
    let setting = "ignore_startup_parameters = extra_float_digits, options";
    assert!(error.contains(setting), "{error}");
}

#[tokio::test]
async fn slow_server_is_not_mistaken_for_a_pooler() {
    let database = TemporaryDatabase::create("pooler").await;
    let mut url: Url = database.url().parse().unwrap();
    let server = (url.host_str().unwrap(), url.port().unwrap_or(5432));
    let address = slow(server.0.to_owned(), server.1).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(address.port())).unwrap();
    Database::connect(url.as_str(), 1).await.unwrap();
}

/// A proxy to the server that stalls all other connections while one is in a transaction.
async fn slow(host: String, port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let busy = watch::Sender::new(None);
    tokio::spawn(async move {
        for number in 0.. {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect((host.as_str(), port)).await.unwrap();
            tokio::spawn(pass(number, client, server, busy.clone()));
        }
    });
    address
}

async fn pass(
    number: usize,
    mut client: TcpStream,
    mut server: TcpStream,
    busy: watch::Sender<Option<usize>>,
) {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        let mut block = [0; 4096];
        loop {
            let length = from_client.read(&mut block).await.unwrap();
            if length == 0 {
                break;
            }
            let sent = String::from_utf8_lossy(&block[..length]);
            if sent.contains("BEGIN") {
                busy.send_replace(Some(number));
            } else if sent.contains("ROLLBACK") {
                busy.send_replace(None);
            }
            let passes = |busy: &Option<usize>| busy.is_none_or(|busy| busy == number);
            busy.subscribe().wait_for(passes).await.unwrap();
            to_server.write_all(&block[..length]).await.unwrap();
        }
    };
    tokio::select! {
        () = there => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

#[tokio::test]
async fn session_with_another_isolation_is_refused() {
    let database = TemporaryDatabase::create("pooler").await;
    let alter = format!(
        "ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'",
        database.name()
    );
    let direct = Database::connect(&database.url(), 1).await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(direct.connection(), &alter).await.unwrap();
    let pooler = PgBouncer::start(&database.url(), &[IGNORED, ("pool_mode", "session")]).unwrap();
    let error = Database::connect(&pooler.url(), 1).await.unwrap_err().to_string();
    assert!(error.contains("default_transaction_isolation"), "{error}");
    // Without a pooler the start-up option sets the isolation level.
    Database::connect(&database.url(), 1).await.unwrap();
}

#[tokio::test]
async fn objects_are_loaded_through_session_pooling() {
    let database = TemporaryDatabase::create("pooler").await;
    let settings = [IGNORED, ("pool_mode", "session")];
    let pooler = PgBouncer::start(&database.url(), &settings).unwrap();
    let base = through(pooler.url(), database).await;
    let (base, epoch): (TestDatabase, _) = base.with_objects(1).await;
    read(&base.ledger, &complete(2)).await;
    base.counts(&epoch, chunk(1, 0, &[(7, "a"), (3, "b")])).await;
    assert_eq!(base.product(3).await.unwrap().0, "b");
}
