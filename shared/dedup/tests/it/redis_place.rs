//! Which Redis it is, and whose.

use jetline_dedup::{Dedup, Place, Redis};
use jetline_records::LedgerIdentity;
use jetline_testkit::redis::RedisServer;

use crate::{conformance::begin, redis::connect_with};

async fn place(redis: &Redis) -> Place {
    redis.place().await.unwrap().unwrap()
}

#[tokio::test]
async fn servers_databases_and_prefixes_are_told_apart_and_names_are_not() {
    let (one, other) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let here = place(&connect_with(&one.url(), "a").await.unwrap()).await;
    let mut name = one.url();
    name.set_host(Some("localhost")).unwrap();
    let same = place(&connect_with(&name, "a").await.unwrap()).await;
    assert_eq!(same.identity, here.identity);
    assert_ne!(same.address, here.address);
    let mut database = one.url();
    database.set_path("/3");
    for (url, prefix) in [(other.url(), "a"), (database, "a"), (one.url(), "b")] {
        let there = place(&connect_with(&url, prefix).await.unwrap()).await;
        assert_ne!(there.identity, here.identity);
    }
}

#[tokio::test]
async fn ledger_whose_epoch_began_last_is_known() {
    let server = RedisServer::start().unwrap();
    let redis = connect_with(&server.url(), "a").await.unwrap();
    begin(&redis).await;
    assert_eq!(place(&redis).await.ledger, None);
    let ledger = LedgerIdentity::new("a1", "shop");
    redis.sign(&ledger).await.unwrap();
    assert_eq!(place(&redis).await.ledger, Some(ledger));
    server.flush_all().unwrap();
    assert_eq!(place(&redis).await.ledger, None);
}
