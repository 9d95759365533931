//! The identity of a Redis store, and its ledger.

use jetline_core::LedgerIdentity;
use jetline_dedup::{Dedup, Redis, StoreInfo};
use jetline_testkit::redis::RedisServer;

use crate::redis::{connect_with, started};

async fn store_info(redis: &Redis) -> StoreInfo {
    redis.store_info().await.unwrap().unwrap()
}

#[tokio::test]
async fn identity_differs_by_server_database_and_prefix_but_not_by_host_name() {
    let (one, other) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let here = store_info(&connect_with(&one.url(), "a").await.unwrap()).await;
    let mut name = one.url();
    name.set_host(Some("localhost")).unwrap();
    let same = store_info(&connect_with(&name, "a").await.unwrap()).await;
    assert_eq!(same.identity, here.identity);
    assert_ne!(same.address, here.address);
    let mut database = one.url();
    database.set_path("/3");
    for (url, prefix) in [(other.url(), "a"), (database, "a"), (one.url(), "b")] {
        let there = store_info(&connect_with(&url, prefix).await.unwrap()).await;
        assert_ne!(there.identity, here.identity);
    }
}

#[tokio::test]
async fn ledger_whose_epoch_began_last_is_recorded() {
    let (server, redis, _) = started().await;
    assert_eq!(store_info(&redis).await.ledger, None);
    let ledger = LedgerIdentity::new("a1", "shop");
    redis.set_ledger(&ledger).await.unwrap();
    assert_eq!(store_info(&redis).await.ledger, Some(ledger));
    server.flush_all().unwrap();
    assert_eq!(store_info(&redis).await.ledger, None);
}
