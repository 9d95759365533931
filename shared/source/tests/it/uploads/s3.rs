//! Writes to a bucket.

use std::time::Duration;

use jetline_source::{Error, S3Config};
use jetline_testkit::{
    process::free_port,
    proxy::{Proxy, Toxic},
    s3::{Fault, sdk_config},
};

use super::{
    SEVERAL_PARTS, Store, assert_listed, begun, opened, stored, until_nothing_is_left, write,
};
use crate::{
    conformance::{Fixture, all, content, only},
    s3::Bucket,
};

#[tokio::test]
async fn prefix_needs_no_slash_at_its_end() {
    let bucket = Bucket::new();
    for (location, prefix) in [("s3://shop/in", "in/"), ("s3://shop/in/", "in/"), ("s3://shop", "")]
    {
        assert_eq!(opened(location, &bucket.config()).await.unwrap().prefix(), prefix);
    }
}

#[tokio::test]
async fn only_more_than_one_part_is_a_multipart_upload() {
    for (size, is_multipart) in [((8 << 20) - 4, false), (8 << 20, false), ((8 << 20) + 4, true)] {
        let version = stored(&Bucket::new(), "a.jsonl", &content(size)).await;
        assert_eq!(version.etag.contains('-'), is_multipart, "{size}");
    }
}

/// A retry finds the object of the first try. The requests of two parts are: begin, part, part, complete.
#[tokio::test]
async fn lost_response_is_not_an_error() {
    for (size, requests_before) in [(4, 0), (9 << 20, 3)] {
        for lost in [requests_before, 0] {
            let bucket = Bucket::new();
            bucket.server.fail_next(lost, &Fault::Delay(Duration::ZERO));
            bucket.server.fail_next(1, &Fault::LoseResponse);
            stored(&bucket, "a.jsonl", &content(size)).await;
            assert_eq!(bucket.server.fired().reset, 1);
        }
    }
}

#[tokio::test]
async fn server_without_conditional_writes_is_written_to() {
    let bucket = Bucket::new();
    bucket.server.fail_next(1, &Fault::refusal(501, "NotImplemented", "unknown header"));
    stored(&bucket, "a.jsonl", b"x").await;
}

#[tokio::test]
async fn unavailable_server_is_unavailable_and_has_nothing() {
    let bucket = Bucket::new();
    let sdk = sdk_config(&format!("http://127.0.0.1:{}", free_port().unwrap()));
    let nowhere = S3Config { sdk: Some(sdk), ..bucket.config() };
    let store = opened("s3://shop/in/", &nowhere).await.unwrap();
    for size in [4, SEVERAL_PARTS] {
        let mut upload = begun(&*store, "a.jsonl").await;
        let error = match write(&mut upload, &content(size)).await {
            Ok(()) => upload.finish().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Unavailable { action: "write", .. }), "{error}");
    }
    let error = store.delete("in/a.jsonl").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { action: "delete", .. }), "{error}");
}

#[tokio::test]
async fn part_that_cannot_be_sent_ends_the_upload() {
    let bucket = Bucket::new();
    let mut upload = begun(&*bucket.store().await, "a.jsonl").await;
    // The upload begins, and all tries of its first part fail.
    bucket.server.fail_next(1, &Fault::Delay(Duration::ZERO));
    bucket.server.fail_next(3, &Fault::Status(503));
    let error = write(&mut upload, &content(SEVERAL_PARTS)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(upload.finish().await.is_err());
    until_nothing_is_left(&bucket).await;
    assert_listed(&bucket, 0).await;
}

#[tokio::test]
async fn part_is_sent_again_after_its_connection_was_lost() {
    let bucket = Bucket::new();
    let address = bucket.server.endpoint().replace("http://", "");
    let proxy = Proxy::start(address.parse().unwrap()).unwrap();
    proxy.set(Toxic::Slow { delay: Duration::ZERO, bytes_per_second: 16 << 20 });
    let sdk = sdk_config(&format!("http://{}", proxy.address()));
    let config = S3Config { sdk: Some(sdk), ..bucket.config() };
    let mut upload = begun(&*opened("s3://shop/in/", &config).await.unwrap(), "a.jsonl").await;
    let content = content(SEVERAL_PARTS);
    let interrupted = async {
        // Half of the first part.
        while proxy.faults() < 256 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.reset_connections();
        proxy.set(Toxic::None);
    };
    let (written, ()) = tokio::join!(write(&mut upload, &content), interrupted);
    written.unwrap();
    assert!(proxy.connections() > 1);
    let version = upload.finish().await.unwrap();
    let source = bucket.source("in/").await;
    assert_eq!(version, only(&*source).await);
    assert!(all(source.read(&version, 0..u64::MAX)).await.unwrap() == content);
    assert_eq!(bucket.unfinished(), 0);
}

#[tokio::test]
async fn refused_write_names_the_settings() {
    let bucket = Bucket::new();
    let nowhere = opened("s3://nowhere/", &bucket.config()).await.unwrap();
    let error = begun(&*nowhere, "a.jsonl").await.finish().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot write s3://nowhere/a.jsonl: NoSuchBucket"), "{error}");
    assert!(error.contains("AWS_ENDPOINT_URL (INTAKE_STORE)"), "{error}");
    let store = bucket.store().await;
    bucket.server.fail_next(1, &Fault::refusal(403, "AccessDenied", "no"));
    let error = begun(&*store, "a.jsonl").await.finish().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("s3:PutObject"), "{error}");
}
