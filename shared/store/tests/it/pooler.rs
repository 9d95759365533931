//! PgBouncer between us and PostgreSQL.

use jetline_store::{Error, connect};
use jetline_testkit::postgres::{Database, PgBouncer};

use crate::base::{Base, chunk, complete, read, through};

const IGNORED: (&str, &str) = ("ignore_startup_parameters", "extra_float_digits, options");

async fn refused(settings: &[(&str, &str)], connections: u32) -> String {
    let database = Database::create("pooler").await;
    let pooler = PgBouncer::start(&database.url(), settings).unwrap();
    let error = connect(&pooler.url(), connections).await.unwrap_err();
    assert!(!error.is_passing(), "it would be waited for: {error}");
    assert!(matches!(error, Error::Pooler { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn pooler_of_transactions_without_prepared_statements_is_refused() {
    for pool in ["2", "20"] {
        for connections in [1, 8] {
            let settings = [
                IGNORED,
                ("pool_mode", "transaction"),
                ("max_prepared_statements", "0"),
                ("default_pool_size", pool),
            ];
            // The setting came with the version that can do it.
            let known = &settings[..if is_old() { 2 } else { 3 }];
            let settings = [known, &settings[3..]].concat();
            let error = refused(&settings, connections).await;
            assert!(error.contains("pool_mode = session"), "{error}");
        }
    }
}

/// Whether PgBouncer knows nothing of prepared statements.
fn is_old() -> bool {
    let program = jetline_testkit::process::program("pgbouncer").unwrap();
    let output = std::process::Command::new(program)
        .arg("--version")
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let minor = text
        .split_once("PgBouncer 1.")
        .and_then(|(_, version)| version.split('.').next()?.trim().parse().ok());
    minor.is_some_and(|minor: u32| minor < 21)
}

#[tokio::test]
async fn pooler_that_refuses_what_a_connection_starts_with_is_told_by_its_setting() {
    let error = refused(&[("pool_mode", "session")], 8).await;
    let setting = "ignore_startup_parameters = extra_float_digits, options";
    assert!(error.contains(setting), "{error}");
}

#[tokio::test]
async fn session_with_another_isolation_is_refused() {
    let database = Database::create("pooler").await;
    let alter = format!(
        "ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'",
        database.name()
    );
    let direct = connect(&database.url(), 1).await.unwrap();
    sea_orm::ConnectionTrait::execute_unprepared(&direct, &alter)
        .await
        .unwrap();
    let pooler = PgBouncer::start(&database.url(), &[IGNORED, ("pool_mode", "session")]).unwrap();
    let error = connect(&pooler.url(), 1).await.unwrap_err().to_string();
    assert!(error.contains("default_transaction_isolation"), "{error}");
    // Without a pooler the isolation is our own.
    connect(&database.url(), 1).await.unwrap();
}

#[tokio::test]
async fn objects_are_loaded_through_a_pooler_of_sessions() {
    let database = Database::create("pooler").await;
    let settings = [IGNORED, ("pool_mode", "session")];
    let pooler = PgBouncer::start(&database.url(), &settings).unwrap();
    let base = through(pooler.url(), database).await;
    let (base, epoch): (Base, _) = base.with_objects(1).await;
    read(&base.ledger, &complete(2)).await;
    base.counts(&epoch, chunk(1, 0, &[(7, "a"), (3, "b")]))
        .await;
    assert_eq!(base.product(3).await.unwrap().0, "b");
}
