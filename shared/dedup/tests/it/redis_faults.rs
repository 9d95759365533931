//! A loss of entries is detected, and an outage is reported as unavailable.

use std::time::Duration;

use jetline_core::{EpochId, Key, Verdict};
use jetline_dedup::{Claim, Claimed, Dedup, Error, Redis, RedisConfig};
use jetline_testkit::redis::{RedisOptions, RedisServer};

use crate::{
    conformance::{begin, claim, is_lost, judged, object},
    redis::{connect_with, error_text, started},
};

/// One claim of one product.
fn line(content: u8, line: u32) -> [Claim; 1] {
    [claim(Key::Int(1), content, 1, line)]
}

async fn connect(server: &RedisServer) -> Redis {
    connect_with(&server.url(), "jetline").await.unwrap()
}

/// Claims until the server is available again: a lost connection is detected by the first call.
async fn is_lost_after_reconnecting(redis: &Redis, epoch: &EpochId) -> bool {
    for _ in 0..5 {
        match redis.claim(epoch, object(0), "products", &line(b'z', 9)).await {
            Ok(claimed) => return claimed == Claimed::Lost,
            Err(Error::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no connection to the restarted server");
}

/// A new epoch on the server works, and no entries of older ones remain.
async fn starts_over(redis: &Redis, ended: EpochId, server: &RedisServer) {
    let epoch = begin(redis).await;
    let verdicts = judged(redis, &epoch, 9, &line(b'a', 1)).await;
    assert_eq!(verdicts, [Verdict::WriteIfChanged]);
    redis.remove(&[ended]).await.unwrap();
    assert_eq!(redis.epochs().await.unwrap(), [epoch]);
    assert_eq!(entry_keys(server), [format!("jetline:{epoch}:products:0")]);
}

fn entry_keys(server: &RedisServer) -> Vec<String> {
    let mut connection = server.connection().unwrap();
    ::redis::cmd("KEYS").arg("jetline:*:*").query(&mut connection).unwrap()
}

#[tokio::test]
async fn flushed_server_has_lost_the_epoch() {
    let (server, redis, epoch) = started().await;
    judged(&redis, &epoch, 0, &line(b'a', 1)).await;
    server.flush_all().unwrap();
    assert!(is_lost(&redis, &epoch).await);
    starts_over(&redis, epoch, &server).await;
}

#[tokio::test]
async fn server_without_its_scripts_has_lost_the_epoch() {
    let (server, redis, epoch) = started().await;
    judged(&redis, &epoch, 0, &line(b'a', 1)).await;
    server.command(&["SCRIPT", "FLUSH"]).unwrap();
    assert!(is_lost(&redis, &epoch).await);
    assert!(is_lost(&redis, &epoch).await, "a claim must not load the script again");
    starts_over(&redis, epoch, &server).await;
}

#[tokio::test]
async fn server_restarted_empty_has_lost_the_epoch() {
    let (mut server, redis, epoch) = started().await;
    server.restart_empty().unwrap();
    assert!(is_lost_after_reconnecting(&redis, &epoch).await);
    starts_over(&redis, epoch, &server).await;
}

#[tokio::test]
async fn server_restarted_from_a_snapshot_with_the_epoch_has_lost_it() {
    let (mut server, redis, epoch) = started().await;
    judged(&redis, &epoch, 0, &line(b'a', 1)).await;
    server.save().unwrap();
    judged(&redis, &epoch, 0, &line(b'b', 2)).await;
    server.restart().unwrap();
    let mut connection = server.connection().unwrap();
    let mark: String = ::redis::cmd("GET").arg("jetline:epoch").query(&mut connection).unwrap();
    assert!(mark.starts_with(&epoch.to_string()), "the snapshot does not contain the epoch");
    assert_eq!(entry_keys(&server).len(), 1);

    assert!(is_lost_after_reconnecting(&redis, &epoch).await);
    let other_writer = connect(&server).await;
    assert!(is_lost(&other_writer, &epoch).await);
    starts_over(&redis, epoch, &server).await;
}

#[tokio::test]
async fn script_of_another_deployment_does_not_hide_a_loss() {
    let (mut server, redis, epoch) = started().await;
    server.save().unwrap();
    server.restart().unwrap();
    let other = connect_with(&server.url(), "other").await.unwrap();
    begin(&other).await;
    assert!(is_lost_after_reconnecting(&redis, &epoch).await);
}

#[tokio::test]
async fn replica_that_was_promoted_has_lost_the_epoch() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    follow(&second, &first);
    let redis = connect(&first).await;
    let epoch = begin(&redis).await;
    judged(&redis, &epoch, 0, &line(b'a', 1)).await;
    caught_up(&first);
    second.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    assert!(is_lost(&connect(&second).await, &epoch).await);
}

#[tokio::test]
async fn primary_that_was_a_replica_for_a_while_has_lost_the_epoch() {
    let (first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    follow(&second, &first);
    let redis = connect(&first).await;
    let epoch = begin(&redis).await;
    judged(&redis, &epoch, 0, &line(b'a', 1)).await;
    caught_up(&first);
    second.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    judged(&redis, &epoch, 0, &line(b'b', 2)).await;
    // The second claim is lost here, while the script and the epoch's key remain.
    follow(&first, &second);
    first.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    assert!(is_lost_after_reconnecting(&redis, &epoch).await);
    starts_over(&redis, epoch, &first).await;
}

/// Makes a server the replica of another, and waits until it is in sync.
fn follow(replica: &RedisServer, primary: &RedisServer) {
    primary.command(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).unwrap();
    let port = primary.url().port().unwrap().to_string();
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).unwrap();
    caught_up(primary);
}

fn caught_up(primary: &RedisServer) {
    let mut connection = primary.connection().unwrap();
    ::redis::cmd("SET").arg("sync").arg(1).exec(&mut connection).unwrap();
    let replicas: u32 = ::redis::cmd("WAIT").arg(1).arg(30_000).query(&mut connection).unwrap();
    assert_eq!(replicas, 1, "the replica did not catch up");
}

#[tokio::test]
async fn epoch_cannot_begin_at_a_replica() {
    let (primary, replica) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    follow(&replica, &primary);
    let redis = connect(&replica).await;
    let epoch = EpochId::random(&mut rand::rng());
    assert!(is_lost(&redis, &epoch).await);
    let error = redis.begin(&epoch).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn unreachable_server_is_unavailable_and_named() {
    let (mut server, redis, epoch) = started().await;
    server.stop();
    let port = server.url().port().unwrap().to_string();
    for _ in 0..2 {
        let error = redis.claim(&epoch, object(0), "products", &line(b'a', 1)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error_text(error).contains(&port));
    }
    let Err(error) = connect_with(&server.url(), "jetline").await else {
        panic!("connected to a server that was stopped");
    };
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error_text(error).contains(&port));
}

#[tokio::test]
async fn server_that_does_not_respond_is_unavailable_until_it_resumes() {
    let server = RedisServer::start().unwrap();
    let config = RedisConfig { redis_timeout: Duration::from_secs(2), ..RedisConfig::default() };
    let redis = Redis::connect(&server.url(), &config).await.unwrap();
    let epoch = begin(&redis).await;
    let mut admin = server.connection().unwrap();
    ::redis::cmd("CLIENT").arg("PAUSE").arg(600_000).arg("WRITE").exec(&mut admin).unwrap();
    let error = redis.claim(&epoch, object(0), "products", &line(b'a', 1)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    ::redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut admin).unwrap();
    assert!(!is_lost_after_reconnecting(&redis, &epoch).await);
}

#[tokio::test]
async fn full_server_is_unavailable_and_stores_nothing_of_the_claim() {
    let server = RedisServer::start_with(RedisOptions {
        max_memory: Some(4_000_000),
        ..RedisOptions::default()
    })
    .unwrap();
    let redis = connect(&server).await;
    let epoch = begin(&redis).await;
    let refused = fill(&redis, &epoch).await;

    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let error = redis.begin(&EpochId::random(&mut rand::rng())).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");

    server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    let verdicts = judged(&redis, &epoch, 9, &refused).await;
    assert_eq!(verdicts, vec![Verdict::WriteIfChanged; refused.len()]);
}

/// Claims new ids until the server is full, and returns the claims that failed.
async fn fill(redis: &Redis, epoch: &EpochId) -> Vec<Claim> {
    for round in 0..1_000 {
        let ids = round * 1_000..(round + 1) * 1_000;
        let claims: Vec<Claim> = ids.map(|id| claim(Key::Int(id * 64), b'a', 1, 1)).collect();
        if let Err(error) = redis.claim(epoch, object(0), "products", &claims).await {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            assert!(error_text(error).contains("maxmemory"));
            return claims;
        }
    }
    panic!("a million ids fit into the memory of a small server");
}
