//! Writers that end each other's epochs again and again are delayed, and the ledger says which stores they use.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use jetline_core::EpochId;
use jetline_dedup::Dedup;
use jetline_store::Ledger;
use jetline_testkit::redis::{RedisServer, shared, unique_prefix};
use jetline_writer::epochs::Epochs;
use sea_orm::ConnectionTrait;

use crate::{
    doubles::Gated,
    fixtures::{database, dedup, dedup_at, eventually},
};

/// Two writers alternately begin an epoch, as they do when each loses the other's; returns how long that took.
async fn alternate(one: &Epochs, other: &Epochs, times: usize) -> (EpochId, Duration) {
    let begin = Instant::now();
    let mut epoch = one.current().await.unwrap().id;
    for turn in 0..times {
        let next = if turn % 2 == 0 { other } else { one };
        let known = next.current().await.unwrap().id;
        if known != epoch {
            // It cannot commit any more, joins the other's epoch, and finds no entries of it in its store.
            assert_eq!(next.after(known).await.unwrap().id, epoch);
        }
        epoch = next.after(epoch).await.unwrap().id;
    }
    (epoch, begin.elapsed())
}

#[tokio::test]
async fn writers_with_two_dedup_stores_are_delayed_and_recorded() {
    let (_database, ledger) = database("two-stores").await;
    let (one, other) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let epochs_at = async |server: &RedisServer, seed| {
        let dedup = dedup_at(&server.url(), "jetline").await;
        Epochs::new(ledger.clone(), dedup, seed)
    };
    let (at_one, at_other) = (epochs_at(&one, 1).await, epochs_at(&other, 2).await);
    let (epoch, taken) = alternate(&at_one, &at_other, 4).await;
    // The first change is not a return, and one return is tolerated; then the delays are 1 s and 2 s.
    assert!(taken >= Duration::from_secs(3), "{taken:?}");
    let last = ledger.epochs.last_dedup_store().await.unwrap().unwrap();
    assert_eq!((last.epoch, last.returns), (epoch, 3));
    assert_eq!(last.address, Some(one.url().to_string()));
    assert!(last.identity.unwrap().contains("replication"));
}

#[tokio::test]
async fn other_workers_go_on_while_entries_of_ended_epochs_are_removed() {
    let (_database, ledger) = database("removal").await;
    let gated = Gated::new(dedup("removal").await, None);
    let epochs = Arc::new(Epochs::new(ledger, gated.clone(), 1));
    let ended = epochs.current().await.unwrap().id;
    let worker = tokio::spawn({
        let epochs = epochs.clone();
        async move { epochs.after(ended).await.unwrap().id }
    });
    eventually("entries are being removed", async || gated.log() == ["remove"]).await;
    let current = epochs.current().now_or_never().expect("it waits for the removal");
    let current = current.unwrap().id;
    assert_eq!(worker.await.unwrap(), current);
    gated.open();
    eventually("they are removed", async || gated.epochs().await.unwrap() == [current]).await;
    assert_eq!(gated.log(), ["remove", "remove"]);
}

#[tokio::test]
async fn epoch_begins_without_delay_in_a_restarted_store() {
    let (_database, ledger) = database("restarted").await;
    let mut server = RedisServer::start().unwrap();
    let dedup = dedup_at(&server.url(), "jetline").await;
    let epochs = Epochs::new(ledger.clone(), dedup.clone(), 1);
    let mut epoch = epochs.current().await.unwrap().id;
    let mut identities = Vec::new();
    for _ in 0..3 {
        server.restart_empty().unwrap();
        eventually("the store answers", async || dedup.store_info().await.is_ok()).await;
        epoch = epochs.after(epoch).await.unwrap().id;
        let last = ledger.epochs.last_dedup_store().await.unwrap().unwrap();
        assert_eq!(last.returns, 0);
        identities.push(last.identity);
    }
    identities.dedup();
    assert_eq!(identities.len(), 3, "{identities:?}");
}

#[tokio::test]
async fn ledgers_that_share_a_prefix_are_delayed() {
    let ((_one, shop), (_other, books)) = (database("shop").await, database("books").await);
    // They are copies of one template database, and have the same identity.
    let db = books.database().connection();
    db.execute_unprepared("UPDATE ledger SET id = 'another'").await.unwrap();
    let prefix = unique_prefix("two-ledgers");
    let epochs_of = async |ledger: &Ledger, seed| {
        Epochs::new(ledger.clone(), dedup_at(&shared(), &prefix).await, seed)
    };
    let (of_shop, of_books) = (epochs_of(&shop, 1).await, epochs_of(&books, 2).await);
    let begin = Instant::now();
    let mut seen = (of_shop.current().await.unwrap().id, of_books.current().await.unwrap().id);
    for _ in 0..2 {
        seen.0 = of_shop.after(seen.0).await.unwrap().id;
        seen.1 = of_books.after(seen.1).await.unwrap().id;
    }
    assert!(begin.elapsed() >= Duration::from_secs(2));
    assert_eq!(shop.epochs.last_dedup_store().await.unwrap().unwrap().returns, 2);
    assert_eq!(books.epochs.last_dedup_store().await.unwrap().unwrap().returns, 3);
}

#[tokio::test]
async fn epoch_begins_without_delay_in_a_flushed_store() {
    let (_database, ledger) = database("flushed").await;
    let server = RedisServer::start().unwrap();
    let dedup = dedup_at(&server.url(), "jetline").await;
    let epochs = Epochs::new(ledger.clone(), dedup, 1);
    let mut epoch = epochs.current().await.unwrap().id;
    for _ in 0..20 {
        server.flush_all().unwrap();
        epoch = epochs.after(epoch).await.unwrap().id;
    }
    assert_eq!(ledger.epochs.last_dedup_store().await.unwrap().unwrap().returns, 0);
}
