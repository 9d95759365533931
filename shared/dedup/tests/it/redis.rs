//! [`Redis`] passes the conformance suite, and reports what is wrong with a server.

use std::sync::Arc;

use jetline_core::{EpochId, Key};
use jetline_dedup::{Dedup, Error, Redis, RedisConfig};
use jetline_testkit::redis::{RedisOptions, RedisServer, shared, unique_prefix};
use url::Url;

use crate::conformance::{Writers, begin, claim, is_lost, judged, shared_store_conforms};

async fn open() -> Writers {
    let prefix = unique_prefix("dedup");
    let mut writers: Vec<Arc<dyn Dedup>> = Vec::new();
    for _ in 0..4 {
        writers.push(Arc::new(connect_with(&shared(), &prefix).await.unwrap()));
    }
    Writers(writers)
}

shared_store_conforms!(open);

/// A separate store on the shared server.
pub(crate) async fn connect(name: &str) -> Redis {
    connect_with(&shared(), &unique_prefix(name)).await.unwrap()
}

pub(crate) async fn connect_with(url: &Url, prefix: &str) -> Result<Redis, Error> {
    let config = RedisConfig { redis_prefix: prefix.to_owned(), ..RedisConfig::default() };
    Redis::connect(url, &config).await
}

/// A server of the test's own, a store on it, and the epoch that has begun there.
pub(crate) async fn started() -> (RedisServer, Redis, EpochId) {
    let server = RedisServer::start().unwrap();
    let redis = connect_with(&server.url(), "jetline").await.unwrap();
    let epoch = begin(&redis).await;
    (server, redis, epoch)
}

/// An error with its sources, as it would be logged.
pub(crate) fn error_text(error: Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

#[tokio::test]
async fn prefixes_separate_deployments() {
    let prefix = unique_prefix("prefix");
    let one = connect_with(&shared(), &prefix).await.unwrap();
    // As a pattern, this prefix would match the other.
    let other = connect_with(&shared(), &prefix.replace("prefix", "[p]*")).await.unwrap();
    let (epoch, other_epoch) = (begin(&one).await, begin(&other).await);
    assert!(!is_lost(&one, &epoch).await);
    assert!(is_lost(&one, &other_epoch).await);
    assert!(!is_lost(&other, &other_epoch).await);
    assert_eq!(other.remove(&[epoch]).await.unwrap(), 0);
    assert_eq!(other.remove(&[other_epoch]).await.unwrap(), 1);
    assert_eq!(one.epochs().await.unwrap(), [epoch]);
    assert!(!is_lost(&one, &epoch).await);
}

#[tokio::test]
async fn wrong_password_is_refused_and_not_shown() {
    let server = RedisServer::start_with(RedisOptions {
        password: Some("right".into()),
        ..RedisOptions::default()
    })
    .unwrap();
    connect_with(&server.url(), "p").await.unwrap();
    for credentials in ["", "user:wrong@", ":wrong@"] {
        let mut url = server.url();
        url.set_password(None).unwrap();
        let url = url.as_str().replace("redis://", &format!("redis://{credentials}"));
        let Err(error) = connect_with(&url.parse().unwrap(), "p").await else {
            panic!("connected to {url}");
        };
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let text = error_text(error);
        assert!(text.contains("REDIS_URL") && text.contains("127.0.0.1"), "{text}");
        assert!(!text.contains("wrong@") && !text.contains("user:"), "{text}");
    }
}

#[tokio::test]
async fn user_without_permission_is_refused() {
    let server = RedisServer::start().unwrap();
    server
        .command(&["ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+@connection"])
        .unwrap();
    let url = server.url().as_str().replace("redis://", "redis://reader:pw@");
    let redis = connect_with(&url.parse().unwrap(), "p").await.unwrap();
    let epoch = EpochId::random(&mut rand::rng());
    let error = redis.begin(&epoch).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error_text(error).contains("REDIS_URL"));
}

#[tokio::test]
async fn url_of_another_server_is_refused() {
    for url in ["http://127.0.0.1:6379", "redis://127.0.0.1/database"] {
        let Err(error) = connect_with(&url.parse().unwrap(), "p").await else {
            panic!("connected to {url}");
        };
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(error_text(error).contains("REDIS_URL"));
    }
}

#[tokio::test]
async fn cluster_is_refused() {
    let server =
        RedisServer::start_with(RedisOptions { cluster: true, ..RedisOptions::default() }).unwrap();
    let Err(error) = connect_with(&server.url(), "p").await else {
        panic!("connected to a cluster");
    };
    assert!(error_text(error).contains("Redis Cluster is not supported"));
}

#[tokio::test]
async fn keys_of_another_type_are_refused_and_not_changed() {
    let (server, redis, epoch) = started().await;
    server.command(&["SET", &format!("jetline:{epoch}:products:1"), "theirs"]).unwrap();
    let claims = [claim(Key::Int(0), b'a', 1, 1), claim(Key::Int(64), b'a', 1, 1)];
    let error =
        redis.claim(&epoch, crate::conformance::object(0), "products", &claims).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error_text(error).contains("REDIS_PREFIX"));
    let verdicts = judged(&redis, &epoch, 0, &claims[..1]).await;
    assert_eq!(verdicts, [jetline_core::Verdict::WriteIfChanged]);
}
