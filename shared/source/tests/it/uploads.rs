//! The conformance suite of the port for writing, on both adapters, and tests of each adapter.

mod directory;
mod s3;

use std::{fs, ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use jetline_source::{Error, Location, ObjectStore, ObjectVersion, S3Config, Upload, open_store};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    conformance::{Fixture, all, content, only},
    directory::Files,
    s3::Bucket,
};

/// More than two parts of every adapter.
const SEVERAL_PARTS: u32 = (17 << 20) + 4;

/// A bucket or directory. Its objects are below `in/`.
trait Store: Fixture {
    async fn store(&self) -> Arc<dyn ObjectStore>;

    /// How many unfinished uploads it stores.
    fn unfinished(&self) -> usize;
}

impl Store for Files {
    async fn store(&self) -> Arc<dyn ObjectStore> {
        self.opened("in/").await.unwrap()
    }

    fn unfinished(&self) -> usize {
        hidden_files(&self.path(""))
    }
}

impl Files {
    async fn opened(&self, path: &str) -> Result<Arc<dyn ObjectStore>, Error> {
        opened(self.path(path).to_str().unwrap(), &S3Config::default()).await
    }
}

impl Store for Bucket {
    async fn store(&self) -> Arc<dyn ObjectStore> {
        opened("s3://shop/in/", &self.config()).await.unwrap()
    }

    fn unfinished(&self) -> usize {
        self.server.open_uploads()
    }
}

async fn opened(location: &str, config: &S3Config) -> Result<Arc<dyn ObjectStore>, Error> {
    let location: Location = location.parse().unwrap();
    open_store(&location, config).await
}

fn hidden_files(directory: &Path) -> usize {
    let count = |entry: fs::DirEntry| {
        if entry.file_type().unwrap().is_dir() {
            return hidden_files(&entry.path());
        }
        usize::from(entry.file_name().as_encoded_bytes().starts_with(b"."))
    };
    fs::read_dir(directory).unwrap().map(|entry| count(entry.unwrap())).sum()
}

/// Runs the suite on `$place`, a new one for each test.
macro_rules! stores {
    ($name:ident, $place:expr, $($test:ident),+ $(,)?) => {
        mod $name {
            use super::*;

            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(&$place).await;
                }
            )+
        }
    };
    ($name:ident, $place:expr) => {
        stores!(
            $name,
            $place,
            small_object_is_read_back,
            empty_object_is_listed,
            object_of_several_parts_is_read_back,
            keys_have_spaces_and_letters_of_all_alphabets,
            unfinished_object_is_not_listed,
            aborted_upload_leaves_nothing,
            dropped_upload_leaves_nothing,
            object_is_never_overwritten,
            deleted_object_is_gone,
            key_that_is_not_listed_is_refused,
        );
    };
}

stores!(of_a_directory, Files::new());
stores!(of_a_bucket, Bucket::new());

async fn small_object_is_read_back(place: &impl Store) {
    stored(place, "orders/2026-11-27/a.jsonl", b"{\"id\":1}\n").await;
}

async fn empty_object_is_listed(place: &impl Store) {
    let version = stored(place, "a.jsonl", b"").await;
    assert_eq!(version.size, 0);
}

async fn object_of_several_parts_is_read_back(place: &impl Store) {
    stored(place, "a.jsonl", &content(SEVERAL_PARTS)).await;
}

async fn keys_have_spaces_and_letters_of_all_alphabets(place: &impl Store) {
    for key in ["a b+c%20.jsonl", "Bücher/注文 ё/🙂.jsonl.gz"] {
        let version = stored(place, key, b"x").await;
        assert!(version.key.ends_with(key), "{version:?}");
        place.store().await.delete(&version.key).await.unwrap();
    }
}

async fn unfinished_object_is_not_listed(place: &impl Store) {
    let mut upload = begun(&*place.store().await, "a.jsonl").await;
    write(&mut upload, &content(SEVERAL_PARTS)).await.unwrap();
    assert_listed(place, 0).await;
    upload.finish().await.unwrap();
    assert_listed(place, 1).await;
    assert_eq!(place.unfinished(), 0);
}

async fn aborted_upload_leaves_nothing(place: &impl Store) {
    let store = place.store().await;
    for size in [0, 4, SEVERAL_PARTS] {
        let mut upload = begun(&*store, "a.jsonl").await;
        write(&mut upload, &content(size)).await.unwrap();
        upload.abort().await;
        assert_eq!(place.unfinished(), 0);
        assert_listed(place, 0).await;
    }
}

async fn dropped_upload_leaves_nothing(place: &impl Store) {
    let store = place.store().await;
    for size in [0, 4, SEVERAL_PARTS] {
        let mut upload = begun(&*store, "a.jsonl").await;
        write(&mut upload, &content(size)).await.unwrap();
        drop(upload);
        until_nothing_is_left(place).await;
        assert_listed(place, 0).await;
    }
}

async fn object_is_never_overwritten(place: &impl Store) {
    let store = place.store().await;
    let mut early = begun(&*store, "a.jsonl").await;
    write(&mut early, b"early").await.unwrap();
    let first = stored(place, "a.jsonl", b"first").await;
    let late = [begun(&*store, "a.jsonl").await, begun(&*store, "a.jsonl").await];
    for (mut upload, size) in late.into_iter().chain([early]).zip([0, SEVERAL_PARTS, 4]) {
        write(&mut upload, &content(size)).await.unwrap();
        let error = upload.finish().await.unwrap_err();
        assert!(matches!(&error, Error::AlreadyExists { uri } if *uri == first.uri()), "{error}");
    }
    until_nothing_is_left(place).await;
    assert_eq!(only(&*place.source("in/").await).await, first);
}

async fn deleted_object_is_gone(place: &impl Store) {
    let version = stored(place, "a/b.jsonl", b"x").await;
    let store = place.store().await;
    for key in [&version.key, &version.key, &format!("{}nothing.jsonl", store.prefix())] {
        store.delete(key).await.unwrap();
        assert_listed(place, 0).await;
    }
    stored(place, "a/b.jsonl", b"y").await;
}

async fn key_that_is_not_listed_is_refused(place: &impl Store) {
    let store = place.store().await;
    for key in ["a", ".a.jsonl", "_a/b.jsonl", "../a.jsonl", "a//b.jsonl", "/a.jsonl", ""] {
        let key = format!("{}{key}", store.prefix());
        for result in [store.create(&key).await.map(drop), store.delete(&key).await] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{key}: {error}");
        }
    }
}

/// Writes an object, and compares its version and content with those of the source, which has no other.
async fn stored(place: &impl Store, name: &str, content: &[u8]) -> ObjectVersion {
    let store = place.store().await;
    let mut upload = begun(&*store, name).await;
    write(&mut upload, content).await.unwrap();
    let version = upload.finish().await.unwrap();
    let source = place.source("in/").await;
    assert_eq!(store.root(), source.root());
    assert_eq!(version, only(&*source).await);
    assert!(all(source.read(&version, 0..u64::MAX)).await.unwrap() == content);
    version
}

async fn begun(store: &dyn ObjectStore, name: &str) -> Upload {
    store.create(&format!("{}{name}", store.prefix())).await.unwrap()
}

/// In blocks of random sizes, empty ones and some of several parts among them.
async fn write(upload: &mut Upload, content: &[u8]) -> Result<(), Error> {
    let mut randomness = StdRng::seed_from_u64(content.len() as u64);
    let mut rest = Bytes::copy_from_slice(content);
    while !rest.is_empty() {
        let sizes: Range<usize> =
            [0..10, 0..100_000, 0..12 << 20][randomness.random_range(0..3)].clone();
        let size = randomness.random_range(sizes).min(rest.len());
        upload.write(rest.split_to(size)).await?;
    }
    Ok(())
}

async fn assert_listed(place: &impl Store, count: usize) {
    let listing = place.source("in/").await.list().await.unwrap();
    assert_eq!(listing.objects.len(), count, "{listing:?}");
    assert_eq!(listing.skipped.count(), 0, "{listing:?}");
}

async fn until_nothing_is_left(place: &impl Store) {
    let ended = async {
        while place.unfinished() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
}
