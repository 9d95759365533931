//! The conformance suite of the port.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use jetline_source::{Error, ObjectVersion, Source};

/// A bucket or directory that a test may change. No adapter prefetches more than 1.5 MiB of an object.
pub(crate) trait Fixture {
    /// Writes or overwrites an object.
    fn put(&self, key: &str, content: &[u8]);

    /// Sets when an object was written.
    fn set_last_modified(&self, key: &str, time: DateTime<Utc>);

    fn delete(&self, key: &str);

    /// A source of the keys that match.
    async fn source(&self, pattern: &str) -> Arc<dyn Source>;

    /// The error of listing a bucket or directory that does not exist.
    async fn missing(&self) -> Error;
}

/// Runs the suite on `$fixture`, a new one for each test.
macro_rules! conforms {
    ($fixture:expr, $($test:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                crate::conformance::$test(&$fixture).await;
            }
        )+
    };
    ($fixture:expr) => {
        crate::conformance::conforms!(
            $fixture,
            list_is_ordered_by_modification_time_and_key,
            list_has_all_keys,
            nested_keys_are_found,
            hidden_keys_are_excluded,
            hidden_keys_that_the_pattern_names_are_found,
            only_extensions_of_formats_are_taken_from_a_directory,
            given_name_or_pattern_is_taken_with_any_extension,
            glob_selects_keys,
            exact_key_selects_only_that_object,
            uri_is_root_and_key,
            empty_source_has_no_objects,
            overwritten_object_is_another_version,
            object_is_found_by_its_key_as_it_is_listed,
            empty_object_reads_as_empty,
            any_range_returns_its_bytes,
            large_object_is_read_in_order_without_loss,
            overwritten_while_read_is_changed,
            deleted_while_read_is_deleted,
            missing_source_is_not_found,
        );
    };
}
pub(crate) use conforms;

pub(crate) async fn list_is_ordered_by_modification_time_and_key(place: &impl Fixture) {
    for (key, seconds) in [("d.jsonl", 20), ("c.jsonl", 10), ("b.jsonl", 20), ("a.jsonl", 30)] {
        place.put(key, b"x");
        place.set_last_modified(key, DateTime::from_timestamp(seconds, 0).unwrap());
    }
    assert_eq!(keys(place, "").await, ["c.jsonl", "b.jsonl", "d.jsonl", "a.jsonl"]);
}

pub(crate) async fn list_has_all_keys(place: &impl Fixture) {
    let all: Vec<String> = (0..2_500).map(|number| format!("{number:04}.jsonl")).collect();
    for key in &all {
        place.put(key, b"x");
        place.set_last_modified(key, DateTime::UNIX_EPOCH);
    }
    assert_eq!(keys(place, "").await, all);
}

pub(crate) async fn nested_keys_are_found(place: &impl Fixture) {
    let all = ["a.jsonl", "b/c.jsonl", "b/d/e f.jsonl", "b/ü.jsonl"];
    for key in all {
        place.put(key, b"x");
    }
    assert_eq!(sorted_keys(place, "").await, all);
    assert_eq!(sorted_keys(place, "b/d/").await.len(), 1);
}

pub(crate) async fn hidden_keys_are_excluded(place: &impl Fixture) {
    for key in ["a", ".a", "_a", "b/.c", "b/_c", "_b/c", ".b/c", "b/c_"] {
        place.put(&format!("{key}.jsonl"), b"x");
    }
    assert_eq!(sorted_keys(place, "").await, ["a.jsonl", "b/c_.jsonl"]);
    assert_eq!(sorted_keys(place, "**").await, ["a.jsonl", "b/c_.jsonl"]);
}

pub(crate) async fn hidden_keys_that_the_pattern_names_are_found(place: &impl Fixture) {
    for key in ["in/_a", "in/b", "in/_c", "in/d/_data", "in/_d/_data"] {
        place.put(key, b"x");
    }
    assert_eq!(sorted_keys(place, "*/{_a,b}").await.len(), 2);
    assert_eq!(sorted_keys(place, "in/*/_data").await.len(), 1);
    assert_eq!(sorted_keys(place, "in/*").await.len(), 1);
}

/// Names that are taken from a directory, and names that are not.
const TAKEN: [&str; 8] = [
    "a.jsonl",
    "b.ndjson",
    "c.json.gz",
    "d.jsonl.zst",
    "e.ndjson.bz2",
    "f.JSONL.GZ",
    "g.csv",
    "h.tsv.gz",
];
const OTHERS: [&str; 6] = ["README.md", "data", "g.gz", "h.jsonl.old", "i.jsonl.gz.gz", "jsonl"];

fn put_all_extensions(place: &impl Fixture) {
    for name in TAKEN.into_iter().chain(OTHERS) {
        place.put(&format!("in/{name}"), b"x");
    }
}

/// The sorted last segments of URIs.
fn names(uris: impl IntoIterator<Item = String>) -> Vec<String> {
    let name = |uri: String| uri.rsplit('/').next().unwrap().to_owned();
    let mut names: Vec<String> = uris.into_iter().map(name).collect();
    names.sort();
    names
}

pub(crate) async fn only_extensions_of_formats_are_taken_from_a_directory(place: &impl Fixture) {
    put_all_extensions(place);
    for pattern in ["", "in", "in/", "i*/"] {
        let listing = place.source(pattern).await.list().await.unwrap();
        assert_eq!(names(listing.objects.iter().map(ObjectVersion::uri)), TAKEN, "{pattern}");
        let skipped = listing.skipped.named().iter();
        let skipped = skipped.filter_map(|entry| Some(entry.split_once(": only names in ")?.0));
        assert_eq!(names(skipped.map(str::to_owned)), OTHERS, "{pattern}");
        assert_eq!(listing.skipped.unreadable(), 0, "{pattern}");
    }
}

pub(crate) async fn given_name_or_pattern_is_taken_with_any_extension(place: &impl Fixture) {
    put_all_extensions(place);
    for (pattern, count) in [("in/README.md", 1), ("in/data", 1), ("in/*", 14), ("**", 14)] {
        let listing = place.source(pattern).await.list().await.unwrap();
        let found = (listing.objects.len(), listing.skipped.count());
        assert_eq!(found, (count, 0), "{pattern}: {listing:?}");
    }
}

pub(crate) async fn glob_selects_keys(place: &impl Fixture) {
    for key in ["a.jsonl", "a.txt", "b/a.jsonl", "b/c/a.jsonl"] {
        place.put(key, b"x");
    }
    assert_eq!(sorted_keys(place, "*.jsonl").await, ["a.jsonl"]);
    assert_eq!(sorted_keys(place, "*/*.jsonl").await, ["b/a.jsonl"]);
    assert_eq!(sorted_keys(place, "**/*.jsonl").await.len(), 3);
    assert_eq!(sorted_keys(place, "*.{txt,gz}").await, ["a.txt"]);
    assert_eq!(sorted_keys(place, "*.nothing").await, [""; 0]);
}

pub(crate) async fn exact_key_selects_only_that_object(place: &impl Fixture) {
    for key in ["b/a.jsonl", "b/a.jsonl.old"] {
        place.put(key, key.as_bytes());
    }
    let source = place.source("b/a.jsonl").await;
    let objects = source.list().await.unwrap().objects;
    assert_eq!(objects.len(), 1);
    assert!(objects[0].uri().ends_with("/b/a.jsonl"));
    let read = all(source.read(&objects[0], 0..u64::MAX)).await.unwrap();
    assert_eq!(read, b"b/a.jsonl");
}

pub(crate) async fn uri_is_root_and_key(place: &impl Fixture) {
    place.put("b/c.jsonl", b"x");
    let source = place.source("").await;
    let object = only(&*source).await;
    assert_eq!(object.root, source.root());
    assert_eq!(object.uri(), format!("{}/b/c.jsonl", source.root()));
    assert_eq!(object.size, 1);
}

pub(crate) async fn empty_source_has_no_objects(place: &impl Fixture) {
    assert_eq!(keys(place, "").await, [""; 0]);
}

pub(crate) async fn overwritten_object_is_another_version(place: &impl Fixture) {
    place.put("a.jsonl", b"one");
    let source = place.source("").await;
    let (one, same) = (only(&*source).await, only(&*source).await);
    assert_eq!(one, same);
    place.put("a.jsonl", b"two");
    let two = only(&*source).await;
    assert_ne!(one.etag, two.etag);
    let read = all(source.read(&one, 0..3)).await;
    assert!(matches!(read, Err(Error::Changed { uri }) if uri == one.uri()));
    assert_eq!(all(source.read(&two, 0..3)).await.unwrap(), b"two");
}

pub(crate) async fn object_is_found_by_its_key_as_it_is_listed(place: &impl Fixture) {
    place.put("a.jsonl", b"x");
    place.put("a.jsonl.old", b"x");
    place.put("b/a.jsonl", b"x");
    let source = place.source("*.jsonl").await;
    let listed = only(&*source).await;
    assert_eq!(source.find("a.jsonl").await.unwrap(), Some(listed.clone()));
    // Also what does not match.
    assert_eq!(source.find("b/a.jsonl").await.unwrap().unwrap().key, "b/a.jsonl");
    for missing in ["a", "a.json", "b", "c/a.jsonl"] {
        assert_eq!(source.find(missing).await.unwrap(), None, "{missing}");
    }
    place.put("a.jsonl", b"xy");
    assert_ne!(source.find("a.jsonl").await.unwrap(), Some(listed));
    place.delete("a.jsonl");
    assert_eq!(source.find("a.jsonl").await.unwrap(), None);
}

pub(crate) async fn empty_object_reads_as_empty(place: &impl Fixture) {
    place.put("a.jsonl", b"");
    let source = place.source("").await;
    let object = only(&*source).await;
    assert_eq!(object.size, 0);
    assert!(source.read(&object, 0..0).next().await.is_none());
}

pub(crate) async fn any_range_returns_its_bytes(place: &impl Fixture) {
    let content = content(3 << 20);
    place.put("a.jsonl", &content);
    let source = place.source("").await;
    let object = only(&*source).await;
    let size = object.size;
    for range in [0..1, 0..0, 5..5, size - 1..size, 1_000_000..1_100_000, 12_345..size] {
        let read = all(source.read(&object, range.clone())).await.unwrap();
        assert!(read == content[span(&range)], "{range:?}");
    }
}

pub(crate) async fn large_object_is_read_in_order_without_loss(place: &impl Fixture) {
    let content = content(6 << 20);
    place.put("a.jsonl", &content);
    let source = place.source("").await;
    let object = only(&*source).await;
    let read = all(source.read(&object, 0..object.size)).await.unwrap();
    assert!(read == content);
}

pub(crate) async fn overwritten_while_read_is_changed(place: &impl Fixture) {
    let one = content(6 << 20);
    place.put("a.jsonl", &one);
    let source = place.source("").await;
    let object = only(&*source).await;
    let mut stream = source.read(&object, 0..object.size);
    let mut read = stream.next().await.unwrap().unwrap().to_vec();
    place.put("a.jsonl", &vec![b'2'; one.len()]);
    let error = drain(&mut stream, &mut read).await.unwrap_err();
    assert!(matches!(&error, Error::Changed { uri } if *uri == object.uri()), "{error}");
    assert!(read.len() < one.len() && one.starts_with(&read));
    assert!(stream.next().await.is_none());
}

pub(crate) async fn deleted_while_read_is_deleted(place: &impl Fixture) {
    let one = content(6 << 20);
    place.put("a.jsonl", &one);
    let source = place.source("").await;
    let object = only(&*source).await;
    let mut stream = source.read(&object, 0..object.size);
    let mut read = stream.next().await.unwrap().unwrap().to_vec();
    place.delete("a.jsonl");
    let error = drain(&mut stream, &mut read).await.unwrap_err();
    assert!(matches!(&error, Error::Deleted { uri } if *uri == object.uri()), "{error}");
    assert!(one.starts_with(&read));
}

pub(crate) async fn missing_source_is_not_found(place: &impl Fixture) {
    let error = place.missing().await;
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("nowhere") && text.contains("exist"), "{text}");
}

/// The only object of a source.
pub(crate) async fn only(source: &dyn Source) -> ObjectVersion {
    let mut objects = source.list().await.unwrap().objects;
    assert_eq!(objects.len(), 1, "{objects:?}");
    objects.remove(0)
}

/// Collects a stream.
pub(crate) async fn all(
    stream: impl futures::Stream<Item = Result<Bytes, Error>>,
) -> Result<Vec<u8>, Error> {
    stream
        .try_fold(Vec::new(), async |mut read, block| {
            read.extend_from_slice(&block);
            Ok(read)
        })
        .await
}

/// Bytes that differ at every offset.
pub(crate) fn content(size: u32) -> Vec<u8> {
    (0..size / 4).flat_map(u32::to_le_bytes).collect()
}

async fn drain(stream: &mut jetline_source::ByteStream, read: &mut Vec<u8>) -> Result<(), Error> {
    while let Some(block) = stream.next().await {
        read.extend_from_slice(&block?);
    }
    Ok(())
}

async fn keys(place: &impl Fixture, pattern: &str) -> Vec<String> {
    let listing = place.source(pattern).await.list().await.unwrap();
    let objects = listing.objects;
    objects.into_iter().map(|object| object.key).collect()
}

async fn sorted_keys(place: &impl Fixture, pattern: &str) -> Vec<String> {
    let mut keys = keys(place, pattern).await;
    keys.sort();
    keys
}

fn span(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}
