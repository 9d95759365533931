//! S3, over HTTP.

use std::{
    io::{Read, Write},
    num::NonZeroUsize,
    sync::Arc,
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use chrono::{DateTime, Utc};
use jetline_source::{Error, Location, S3Config, Source, open};
use jetline_testkit::{
    process::free_port,
    s3::{Fault, S3Server, sdk_config},
};

use crate::conformance::{Fixture, all, conforms, content, only};

const PART: u64 = 256 << 10;

pub(crate) struct Bucket {
    pub(crate) server: S3Server,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let server = S3Server::start().unwrap();
        server.create_bucket("shop");
        Self { server }
    }

    pub(crate) fn config(&self) -> S3Config {
        S3Config {
            s3_part_size: PART,
            s3_parallel_parts: NonZeroUsize::new(3).unwrap(),
            s3_max_keys: 1_000_000,
            sdk: Some(self.server.sdk_config()),
        }
    }

    pub(crate) async fn open(location: &str, config: S3Config) -> Arc<dyn Source> {
        let location: Location = location.parse().unwrap();
        open(&location, &config).await.unwrap()
    }

    /// A bucket with one object of several parts, its source and its content.
    pub(crate) async fn with_object() -> (Self, Arc<dyn Source>, Vec<u8>) {
        let bucket = Self::new();
        let content = content(1 << 20);
        bucket.put("a.jsonl", &content);
        let source = bucket.source("").await;
        (bucket, source, content)
    }
}

impl Fixture for Bucket {
    fn put(&self, key: &str, content: &[u8]) {
        self.server.put("shop", key, content.to_vec());
    }

    fn set_last_modified(&self, key: &str, time: DateTime<Utc>) {
        self.server.set_last_modified("shop", key, time);
    }

    fn delete(&self, key: &str) {
        self.server.delete("shop", key);
    }

    async fn source(&self, pattern: &str) -> Arc<dyn Source> {
        Self::open(&format!("s3://shop/{pattern}"), self.config()).await
    }

    async fn missing(&self) -> Error {
        let source = Self::open("s3://nowhere/", self.config()).await;
        source.list().await.unwrap_err()
    }
}

conforms!(Bucket::new());

#[tokio::test]
async fn list_of_many_keys_is_read_page_by_page_without_reading_objects() {
    let bucket = Bucket::new();
    for number in 0..2_001 {
        bucket.put(&format!("in/{number}.jsonl"), b"x");
    }
    bucket.put("out/1.jsonl", b"x");
    let objects = bucket.source("in/").await.list().await.unwrap().objects;
    assert_eq!(objects.len(), 2_001);
    assert_eq!(bucket.server.lists(), 3);
    assert_eq!(bucket.server.gets(), 0);
}

#[tokio::test]
async fn directory_placeholders_are_excluded() {
    let bucket = Bucket::new();
    bucket.put("in/", b"");
    bucket.put("in/a.jsonl", b"x");
    assert_eq!(only(&*bucket.source("in/").await).await.key, "in/a.jsonl");
}

#[tokio::test]
async fn prefix_that_begins_names_is_a_pattern_and_not_a_directory() {
    let bucket = Bucket::new();
    for key in ["in/part-0", "in/part-1", "in/part/README.md"] {
        bucket.put(key, b"x");
    }
    let listing = bucket.source("in/part").await.list().await.unwrap();
    let keys: Vec<_> = listing.objects.iter().map(|object| &object.key).collect();
    assert_eq!(keys, ["in/part-0", "in/part-1"]);
    assert_eq!(listing.skipped.count(), 1);
}

#[tokio::test]
async fn empty_range_sends_no_request() {
    let bucket = Bucket::new();
    bucket.put("a.jsonl", b"x");
    let source = bucket.source("").await;
    let object = only(&*source).await;
    assert_eq!(all(source.read(&object, 0..0)).await.unwrap(), b"");
    assert_eq!(bucket.server.gets(), 0);
    // An object that is listed as empty is checked.
    bucket.put("a.jsonl", b"");
    let object = only(&*source).await;
    assert_eq!(all(source.read(&object, 0..0)).await.unwrap(), b"");
    assert_eq!(bucket.server.gets(), 1);
}

#[tokio::test]
async fn object_is_read_in_parts() {
    let (bucket, source, content) = Bucket::with_object().await;
    let object = only(&*source).await;
    assert!(all(source.read(&object, 0..object.size)).await.unwrap() == content);
    assert_eq!(bucket.server.gets(), object.size / PART);
}

#[tokio::test]
async fn interrupted_body_is_resumed_at_its_offset() {
    let (bucket, source, content) = Bucket::with_object().await;
    let object = only(&*source).await;
    bucket.server.fail_next_gets(4, &Fault::CutBody(100_000));
    assert!(all(source.read(&object, 0..object.size)).await.unwrap() == content);
    assert_eq!(bucket.server.gets(), object.size / PART + 4);
}

#[tokio::test]
async fn body_that_is_always_interrupted_is_unavailable() {
    let (bucket, source, _) = Bucket::with_object().await;
    let object = only(&*source).await;
    bucket.server.fail_next_gets(1_000, &Fault::CutBody(0));
    let error = all(source.read(&object, 0..100)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(bucket.server.gets(), 6);
}

#[tokio::test]
async fn transient_failures_are_retried() {
    let (bucket, source, content) = Bucket::with_object().await;
    bucket.server.fail_next(1, &Fault::Status(500));
    let object = only(&*source).await;
    bucket.server.fail_next_gets(1, &Fault::Status(503));
    assert!(all(source.read(&object, 0..object.size)).await.unwrap() == content);
}

#[tokio::test]
async fn server_that_keeps_failing_is_unavailable() {
    let (bucket, source, _) = Bucket::with_object().await;
    let object = only(&*source).await;
    bucket.server.fail_next(1_000, &Fault::Status(503));
    let error = all(source.read(&object, 0..1)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let error = source.list().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_refused_with_the_bucket_and_the_variables() {
    let bucket = Bucket::new();
    let keys = [("nobody", bucket.server.secret_key()), (bucket.server.access_key(), "hunter2")];
    for (id, secret) in keys {
        let keys = Credentials::new(id, secret, None, None, "test");
        let sdk = bucket.server.sdk_config().into_builder();
        let sdk = sdk.credentials_provider(SharedCredentialsProvider::new(keys)).build();
        let config = S3Config { sdk: Some(sdk), ..bucket.config() };
        let source = Bucket::open("s3://shop/in/", config).await;
        let error = source.list().await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("cannot list s3://shop/in/: "), "{text}");
        assert!(text.contains("AWS_SECRET_ACCESS_KEY"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn missing_bucket_is_refused_with_its_name_and_the_endpoint_setting() {
    let text = Bucket::new().missing().await.to_string();
    assert!(text.starts_with("cannot list s3://nowhere/: NoSuchBucket"), "{text}");
    assert!(text.contains("AWS_ENDPOINT_URL"), "{text}");
}

#[tokio::test]
async fn unreachable_endpoint_is_unavailable() {
    let sdk = sdk_config(&format!("http://127.0.0.1:{}", free_port().unwrap()));
    let config = S3Config { sdk: Some(sdk), ..Bucket::new().config() };
    let source = Bucket::open("s3://shop/", config).await;
    let error = source.list().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn server_that_stops_during_a_read_is_unavailable() {
    let (bucket, source, content) = Bucket::with_object().await;
    let object = only(&*source).await;
    drop(bucket);
    let error = all(source.read(&object, 0..object.size)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error} {}", content.len());
}

/// The variable of the file for the result of a test that runs itself again.
const RESULT: &str = "JETLINE_TEST_RESULT";

/// A process cannot change its environment safely, so a test runs itself again for each environment.
fn with_environment(test: &str, variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("result");
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env_clear()
        .env("HOME", directory.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(RESULT, &path)
        .envs(variables.iter().copied())
        .output();
    assert!(run.unwrap().status.success());
    std::fs::read_to_string(&path).unwrap()
}

/// Lists the bucket with the configuration of the environment.
async fn listed() -> Result<usize, Error> {
    let location = "s3://shop/".parse().unwrap();
    let source = open(&location, &S3Config::default()).await?;
    Ok(source.list().await?.objects.len())
}

#[tokio::test]
async fn aws_environment_variables_are_used() {
    if let Ok(path) = std::env::var(RESULT) {
        let result = listed().await.map(|objects| objects.to_string());
        let result = result.unwrap_or_else(|error| error.to_string());
        return std::fs::write(path, result).unwrap();
    }
    let bucket = Bucket::new();
    bucket.put("a.jsonl", b"x");
    let (endpoint, id) = (bucket.server.endpoint(), bucket.server.access_key());
    let with_environment = |variables: &[(&str, &str)]| {
        with_environment("s3::aws_environment_variables_are_used", variables)
    };
    let right = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", bucket.server.secret_key()),
    ];
    assert_eq!(with_environment(&right), "1");
    let without_keys = with_environment(&right[..1]);
    assert!(without_keys.contains("no credentials are set"), "{without_keys}");
    assert!(without_keys.contains("AWS_ACCESS_KEY_ID"), "{without_keys}");
    let malformed = with_environment(&[&[("AWS_ENDPOINT_URL_S3", "nowhere")], &right[..]].concat());
    assert!(malformed.contains("AWS_ENDPOINT_URL_S3 is not a URL"), "{malformed}");
}

/// A credentials endpoint that returns expired keys once; then it refuses, like a deleted role, or is unavailable.
fn role(refuses: bool) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let keys = r#"{"AccessKeyId":"a","SecretAccessKey":"b","Token":"c","Expiration":"2020-01-01T00:00:00Z"}"#;
    let answer = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    };
    let refusals = if refuses { usize::MAX } else { 0 };
    let refusals = std::iter::repeat_n(answer("403 Forbidden", ""), refusals);
    let answers = std::iter::once(answer("200 OK", keys)).chain(refusals);
    std::thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    format!("http://{address}/role")
}

#[tokio::test]
async fn role_that_refuses_is_permanent_and_one_that_is_unavailable_is_transient() {
    if let Ok(path) = std::env::var(RESULT) {
        let error = listed().await.unwrap_err();
        return std::fs::write(path, format!("{error} {error:?}")).unwrap();
    }
    let bucket = Bucket::new();
    let error = |refuses| {
        let environment = [
            ("AWS_ENDPOINT_URL", bucket.server.endpoint()),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", role(refuses)),
        ];
        let variables: Vec<_> = environment.iter().map(|(name, value)| (*name, &**value)).collect();
        let name = "s3::role_that_refuses_is_permanent_and_one_that_is_unavailable_is_transient";
        with_environment(name, &variables)
    };
    let refused = error(true);
    assert!(refused.contains("Refused"), "{refused}");
    assert!(refused.contains("the credentials cannot be renewed"), "{refused}");
    assert!(refused.contains("403"), "{refused}");
    let unavailable = error(false);
    assert!(unavailable.contains("Unavailable"), "{unavailable}");
}
