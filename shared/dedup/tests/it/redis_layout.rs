//! Entries are packed, and forgotten epochs leave no keys.

use jetline_core::{Key, Verdict};
use jetline_dedup::{Claim, Dedup};
use jetline_testkit::redis::RedisServer;

use crate::{
    conformance::{begin, claim, judged, versioned},
    redis::{connect_with, started},
};

fn keys(server: &RedisServer) -> Vec<String> {
    let mut connection = server.connection().unwrap();
    let mut keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    keys.sort();
    keys
}

fn encoding(server: &RedisServer, key: &str) -> String {
    let mut connection = server.connection().unwrap();
    ::redis::cmd("OBJECT").arg("ENCODING").arg(key).query(&mut connection).unwrap()
}

#[tokio::test]
async fn full_hashes_are_listpacks() {
    let (server, redis, epoch) = started().await;
    let integers = (0..128).map(|id| claim(Key::Int(id), b'a', 1, 1));
    let versioned = (128..192).map(|id| versioned(Key::Int(id), b'a', -1, 1, 1));
    let texts = (0..64).map(|id| claim(Key::Text(format!("{id:064}")), b'a', 1, 1));
    let claims: Vec<Claim> = integers.chain(versioned).chain(texts).collect();
    judged(&redis, &epoch, 0, &claims).await;

    let keys = keys(&server);
    let hashes: Vec<_> = keys.iter().filter(|key| key.contains(":products:")).collect();
    let integers = hashes.iter().filter(|key| !key.contains(":t")).count();
    assert_eq!(integers, 3, "{hashes:?}");
    for key in hashes {
        assert_eq!(encoding(&server, key), "listpack", "{key}");
    }
}

#[tokio::test]
async fn long_text_id_is_stored_too() {
    let (_server, redis, epoch) = started().await;
    let claims = [claim(Key::Text("x".repeat(100_000)), b'a', 1, 1)];
    assert_eq!(judged(&redis, &epoch, 2, &claims).await, [Verdict::WriteIfChanged]);
    assert_eq!(judged(&redis, &epoch, 2, &claims).await, [Verdict::Unchanged]);
}

#[tokio::test]
async fn only_the_current_epoch_has_keys_after_a_sweep() {
    let server = RedisServer::start().unwrap();
    let redis = connect_with(&server.url(), "jetline").await.unwrap();
    server.command(&["SET", "other:key", "1"]).unwrap();
    let claims: Vec<Claim> = (0..5_000).map(|id| claim(Key::Int(id * 64), b'a', 1, 1)).collect();
    let ended = [begin(&redis).await, begin(&redis).await];
    let older = judged(&redis, &ended[1], 0, &claims).await;
    assert_eq!(older.len(), 5_000);
    let current = begin(&redis).await;
    judged(&redis, &current, 0, &claims[..1]).await;

    assert_eq!(redis.remove(&ended).await.unwrap(), 5_000);
    let mut left = vec![
        "jetline:epoch".to_owned(),
        "jetline:epochs".to_owned(),
        "other:key".to_owned(),
        format!("jetline:{current}:products:0"),
    ];
    left.sort();
    assert_eq!(keys(&server), left);
}
