//! SQLite: connections in a state that the driver does not know of, and files after closing.

use std::path::Path;

use chrono::Utc;
use jetline_store::{Database, Ledger, database::file};
use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::fixtures::{listed, register, sqlite};

#[tokio::test]
async fn connection_whose_rollback_failed_is_closed() {
    let base = sqlite().await;
    let database = Database::connect(&base.url, 1).await.unwrap();
    let (one, db) = (Ledger::new(&database, Utc::now), database.connection());
    // As SQLite itself does when the disk is full: the driver's own rollback finds no transaction then.
    let transaction = db.begin().await.unwrap();
    transaction.execute_unprepared("ROLLBACK").await.unwrap();
    drop(transaction);
    // On that connection this would be a savepoint, whose end does not release the lock.
    let transaction = db.begin().await.unwrap();
    let change = "UPDATE epoch SET id = id";
    transaction.execute_unprepared(change).await.unwrap();
    drop(transaction);

    register(&base.ledger, 1).await;
    one.objects.register(&[listed("2", 2)]).await.unwrap();
    assert_eq!(base.number("SELECT COUNT(*) FROM objects").await, Some(2));
}

#[tokio::test]
async fn closed_database_is_one_file() {
    let base = sqlite().await;
    register(&base.ledger, 1).await;
    let file = file(&base.url).unwrap();
    let log = format!("{}-wal", file.display());
    assert!(Path::new(&log).exists());
    base.database.close().await;
    assert!(!Path::new(&log).exists());
}
