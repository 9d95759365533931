//! Malformed entries, responses and listings: each is skipped or refused with a reason, without failing anything else.

use std::{fs, os::unix::fs::symlink, sync::Arc, time::Duration};

use jetline_source::{Error, Listing, ObjectVersion, S3Config, Source, open};
use jetline_testkit::s3::Fault;

use crate::{
    conformance::{Fixture, all, only},
    directory::Files,
    s3::Bucket,
};

fn keys(listing: &Listing) -> Vec<&str> {
    listing.objects.iter().map(|one| one.key.as_str()).collect()
}

/// Lists, and expects one skipped entry with a reason.
async fn skipped(source: &Arc<dyn Source>, good: &[&str], words: &str) {
    let listing = source.list().await.unwrap();
    assert_eq!(keys(&listing), good, "{words}");
    let named = listing.skipped.named();
    assert_eq!(listing.skipped.count(), 1, "{named:?}");
    assert!(named[0].contains(words), "{named:?}");
}

fn pipe(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

#[tokio::test]
async fn unreadable_entry_of_a_directory_is_skipped_alone() {
    use std::os::unix::ffi::OsStrExt;
    let odd = [
        ("loop", "leads to itself"),
        ("nothing", "dangling link"),
        ("pipe", "not a regular file but a pipe"),
        ("linked", "links to directories are not followed"),
        ("caf\\xe9", "not UTF-8"),
    ];
    for (name, words) in odd {
        let files = Files::new();
        files.put("a.jsonl", b"x");
        files.put("_inside/b.jsonl", b"x");
        let path = files.path(name);
        match name {
            "loop" => symlink("loop", &path).unwrap(),
            "nothing" => symlink("nowhere", &path).unwrap(),
            "pipe" => pipe(&path),
            "linked" => symlink("_inside", &path).unwrap(),
            _ => {
                let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
                fs::write(files.path("").join(name), b"x").unwrap();
            }
        }
        let source = files.source("").await;
        skipped(&source, &["a.jsonl"], words).await;
        skipped(&source, &["a.jsonl"], name).await;
        // Entries that do not match are not reported.
        let listing = files.source("*.jsonl").await.list().await.unwrap();
        assert_eq!((keys(&listing), listing.skipped.count()), (vec!["a.jsonl"], 0));
    }
}

#[tokio::test]
async fn only_entries_that_can_match_are_reported_as_skipped() {
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new();
    files.put("2024-1/a.jsonl", b"x");
    files.put("b.jsonl", b"x");
    fs::create_dir(files.path("").join(std::ffi::OsStr::from_bytes(b"caf\xe9"))).unwrap();
    symlink("2024-1", files.path("latest")).unwrap();
    let listing = files.source("2024-*/").await.list().await.unwrap();
    assert_eq!(listing.skipped.count(), 0, "{listing:?}");
    assert_eq!(keys(&listing), ["2024-1/a.jsonl"]);
    // A link to a directory that matches, and one below which something may match.
    skipped(&files.source("*l*").await, &["b.jsonl"], "latest: links to").await;
    skipped(&files.source("l*/").await, &[], "latest: links to").await;
}

#[tokio::test]
async fn unreadable_hidden_entries_are_not_reported() {
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new();
    files.put("a.jsonl", b"x");
    symlink(".b", files.path(".b")).unwrap();
    symlink("nowhere", files.path("_c")).unwrap();
    let name = std::ffi::OsStr::from_bytes(b".caf\xe9");
    fs::write(files.path("").join(name), b"x").unwrap();
    let listing = files.source("").await.list().await.unwrap();
    assert_eq!((keys(&listing), listing.skipped.count()), (vec!["a.jsonl"], 0));
}

#[tokio::test]
async fn pipe_is_refused_by_its_name() {
    let files = Files::new();
    pipe(&files.path("p"));
    let error = files.open("p").await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[tokio::test]
async fn file_with_content_and_no_size_is_not_read_as_empty() {
    let location = "/proc/version".parse().unwrap();
    let source = open(&location, &S3Config::default()).await.unwrap();
    let object = only(&*source).await;
    assert_eq!(object.size, 0);
    let error = all(source.read(&object, 0..0)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

/// The first reports 4096 bytes and has fewer; the second cannot be read at its beginning.
#[tokio::test]
async fn file_that_cannot_be_read_to_its_size_is_refused() {
    for (location, words) in [
        ("/sys/kernel/uevent_seqnum", "fewer bytes than its size"),
        ("/proc/self/mem", "check the disk"),
    ] {
        let location = location.parse().unwrap();
        let source = open(&location, &S3Config::default()).await.unwrap();
        let object = only(&*source).await;
        let error = all(source.read(&object, 0..object.size)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn file_below_a_missing_directory_is_not_taken_as_deleted() {
    let files = Files::new();
    files.put("in/a.jsonl", b"x");
    let source = files.source("in").await;
    let object = only(&*source).await;
    fs::rename(files.path("in"), files.path("out")).unwrap();
    let error = all(source.read(&object, 0..1)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

/// For both adapters.
async fn exact_names(place: &impl Fixture) {
    for key in ["in/file [1].jsonl", "in/file 1.jsonl", "q?r/a.jsonl", "qxr/a.jsonl", "b\\c"] {
        place.put(key, b"x");
    }
    for (pattern, expected) in [
        ("in/file [1].jsonl", "in/file [1].jsonl"),
        (r"in/file \[1\].jsonl", "in/file [1].jsonl"),
        ("in/file [[]1].jsonl", "in/file [1].jsonl"),
        ("in/file [12].jsonl", "in/file 1.jsonl"),
        ("q?r/", "q?r/a.jsonl"),
        (r"q\?r/", "q?r/a.jsonl"),
        (r"b\c", r"b\c"),
    ] {
        let source = place.source(pattern).await;
        let listing = source.list().await.unwrap();
        let uris: Vec<_> = listing.objects.iter().map(ObjectVersion::uri).collect();
        assert_eq!(uris.len(), 1, "{pattern}: {uris:?}");
        assert!(uris[0].ends_with(&format!("/{expected}")), "{pattern}: {uris:?}");
    }
}

#[tokio::test]
async fn exact_name_takes_precedence_over_the_pattern() {
    exact_names(&Files::new()).await;
    exact_names(&Bucket::new()).await;
}

async fn patterns_without_a_match(place: &impl Fixture) {
    place.put("in/a.jsonl", b"x");
    for (pattern, is_missing) in [("in/*.gz", true), ("i*/", false), ("in/*.jsonl", false)] {
        let listing = place.source(pattern).await.list().await.unwrap();
        assert_eq!(listing.is_missing, is_missing, "{pattern}");
    }
}

#[tokio::test]
async fn pattern_without_a_match_is_missing_and_an_empty_source_is_not() {
    let (files, bucket) = (Files::new(), Bucket::new());
    for listing in [
        files.source("").await.list().await.unwrap(),
        bucket.source("").await.list().await.unwrap(),
    ] {
        assert!(!listing.is_missing);
    }
    patterns_without_a_match(&files).await;
    patterns_without_a_match(&bucket).await;
    bucket.put("out/", b"");
    for (prefix, is_missing) in [("out/", false), ("typo/", true), ("in", false)] {
        let listing = bucket.source(prefix).await.list().await.unwrap();
        assert_eq!(listing.is_missing, is_missing, "{prefix}");
    }
}

#[tokio::test]
async fn keys_of_any_characters_are_listed_and_read() {
    let bucket = Bucket::new();
    let odd = ["a b+c%2B", "ctl\u{1}\u{1b}[m\n", "nul\0", "ü&<>\"'"];
    for key in odd {
        let key = format!("{key}.jsonl");
        bucket.put(&key, key.as_bytes());
    }
    let source = bucket.source("").await;
    let listing = source.list().await.unwrap();
    assert_eq!(listing.objects.len(), odd.len(), "{listing:?}");
    for object in &listing.objects {
        let read = all(source.read(object, 0..object.size)).await.unwrap();
        assert_eq!(read, object.key.as_bytes());
    }
}

/// The elements of the nth page.
type PageOf<'a> = Box<dyn Fn(u32) -> String + 'a>;

const LAST_MODIFIED: &str = "<LastModified>2026-11-25T10:00:00.000Z</LastModified>";

fn entry(key: &str, rest: &str) -> String {
    format!("<Contents><Key>{key}</Key>{rest}</Contents>")
}

#[tokio::test]
async fn malformed_entry_of_a_listing_is_skipped_alone() {
    let bucket = Bucket::new();
    let whole = format!("{LAST_MODIFIED}<ETag>\"e\"</ETag><Size>1</Size>");
    let url = "<EncodingType>url</EncodingType>";
    for (odd, words) in [
        (entry("b.jsonl", &format!("{LAST_MODIFIED}<ETag>\"e\"</ETag>")), "without a size"),
        (entry("b.jsonl", "<ETag>\"e\"</ETag><Size>1</Size>"), "without a modification time"),
        (entry("caf%E9.jsonl", &whole), "caf\\xe9.jsonl: its key is not UTF-8"),
    ] {
        let page = format!("{url}{}{odd}", entry("a.jsonl", &whole));
        bucket.server.fail_next(2, &Fault::page(&page));
        skipped(&bucket.source("").await, &["a.jsonl"], words).await;
        // An entry that does not match is not reported.
        let listing = bucket.source("a*").await.list().await.unwrap();
        assert_eq!(listing.skipped.count(), 0);
    }
}

#[tokio::test]
async fn listing_without_etags_has_size_and_time_as_the_version() {
    let bucket = Bucket::new();
    bucket.put("a.jsonl", b"one");
    let source = bucket.source("").await;
    let whole = only(&*source).await;
    let time = whole.last_modified.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let bare = |size| {
        let page =
            entry("a.jsonl", &format!("<LastModified>{time}</LastModified><Size>{size}</Size>"));
        bucket.server.fail_next(1, &Fault::page(&page));
    };
    bare(3);
    let object = only(&*source).await;
    assert_eq!(all(source.read(&object, 0..3)).await.unwrap(), b"one");
    bare(2);
    assert_ne!(only(&*source).await.etag, object.etag);
    bucket.put("a.jsonl", b"another");
    bucket.server.fail_next_gets(1, &Fault::Delay(Duration::ZERO));
    bare(7);
    let error = all(source.read(&object, 0..3)).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
}

#[tokio::test]
async fn endless_listing_is_refused() {
    let more = "<IsTruncated>true</IsTruncated>";
    let rest = format!("{LAST_MODIFIED}<ETag>\"e\"</ETag><Size>1</Size>");
    let token =
        |number: u32| format!("{more}<NextContinuationToken>{number}</NextContinuationToken>");
    let key = |number: u32| entry(&format!("{number:06}.jsonl"), &rest);
    let pages: [(&str, PageOf<'_>); 5] = [
        ("the same token", Box::new(|number| format!("{}{}", token(7), key(number)))),
        ("the same page", Box::new(|number| format!("{}{}", token(number), key(1)))),
        ("empty pages", Box::new(token)),
        ("a key on each page", Box::new(|number| format!("{}{}", token(number), key(number)))),
        ("no token", Box::new(|number| format!("{more}{}", key(number)))),
    ];
    for (case, page) in pages {
        let bucket = Bucket::new();
        for number in 0..2_000 {
            bucket.server.fail_next(1, &Fault::page(&page(number)));
        }
        let error = bucket.source("").await.list().await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{case}: {error}");
        assert!(error.to_string().contains("AWS_ENDPOINT_URL"), "{case}: {error}");
    }
}

#[tokio::test]
async fn endless_response_is_not_held_in_memory() {
    let bucket = Bucket::new();
    bucket.server.fail_next(10, &Fault::Endless { status: 200 });
    let error = bucket.source("").await.list().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    bucket.server.forget_faults();

    bucket.put("a.jsonl", b"x");
    let source = bucket.source("").await;
    let object = only(&*source).await;
    bucket.server.fail_next_gets(20, &Fault::Endless { status: 403 });
    let error = all(source.read(&object, 0..1)).await.unwrap_err();
    assert!(!matches!(error, Error::Changed { .. } | Error::Deleted { .. }), "{error}");
}

#[tokio::test]
async fn listing_above_the_key_limit_is_refused_with_the_setting() {
    let bucket = Bucket::new();
    for key in ["a.jsonl", "b.jsonl", "c.jsonl"] {
        bucket.put(key, b"x");
    }
    let mut config = bucket.config();
    config.s3_max_keys = 2;
    let source = Bucket::open("s3://shop/", config).await;
    let error = source.list().await.unwrap_err();
    assert!(error.to_string().contains("S3_MAX_KEYS"), "{error}");
}

#[tokio::test]
async fn long_keys_and_etags_count_towards_the_limit() {
    for (key, etag) in [("a".repeat(600), "e".to_owned()), ("a".to_owned(), "e".repeat(600))] {
        let bucket = Bucket::new();
        let page = entry(&key, &format!("{LAST_MODIFIED}<ETag>{etag}</ETag><Size>1</Size>"));
        bucket.server.fail_next(1, &Fault::page(&page));
        let mut config = bucket.config();
        config.s3_max_keys = 2;
        let source = Bucket::open("s3://shop/", config).await;
        let error = source.list().await.unwrap_err();
        assert!(error.to_string().contains("S3_MAX_KEYS"), "{error}");
    }
}

#[tokio::test]
async fn continuation_token_without_the_flag_is_followed() {
    let bucket = Bucket::new();
    let rest = format!("{LAST_MODIFIED}<ETag>\"e\"</ETag><Size>1</Size>");
    let first = entry("a.jsonl", &rest) + "<NextContinuationToken>1</NextContinuationToken>";
    bucket.server.fail_next(1, &Fault::page(&first));
    bucket.server.fail_next(1, &Fault::page(&entry("b.jsonl", &rest)));
    let listing = bucket.source("").await.list().await.unwrap();
    assert_eq!(keys(&listing), ["a.jsonl", "b.jsonl"]);
}

#[tokio::test]
async fn wrong_listed_size_is_detected() {
    for (listed, content) in [(3, &b"12345"[..]), (9, b"12345"), (0, b"12345")] {
        let bucket = Bucket::new();
        bucket.put("a.jsonl", content);
        let source = bucket.source("").await;
        let mut object = only(&*source).await;
        let lie = entry(
            "a.jsonl",
            &format!("{LAST_MODIFIED}<ETag>{}</ETag><Size>{listed}</Size>", object.etag),
        );
        object.size = listed;
        for _ in 0..4 {
            bucket.server.fail_next_gets(1, &Fault::Delay(Duration::ZERO));
            bucket.server.fail_next(1, &Fault::page(&lie));
        }
        let error = all(source.read(&object, 0..listed)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{listed}: {error}");
        let error = error.to_string();
        assert!(error.contains("5 bytes") || error.contains("416"), "{listed}: {error}");
    }
}

#[tokio::test]
async fn response_that_contradicts_the_listing_is_retried() {
    for fault in
        [Fault::refusal(404, "NoSuchKey", "no"), Fault::refusal(412, "PreconditionFailed", "no")]
    {
        let bucket = Bucket::new();
        bucket.put("a.jsonl", b"one");
        let source = bucket.source("").await;
        let object = only(&*source).await;
        bucket.server.fail_next_gets(1, &fault);
        assert_eq!(all(source.read(&object, 0..3)).await.unwrap(), b"one");
        bucket.server.fail_next_gets(100, &fault);
        let error = all(source.read(&object, 0..3)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
}

#[tokio::test]
async fn refusal_says_what_to_check() {
    let (bucket, source, _) = Bucket::with_object().await;
    let object = only(&*source).await;
    for (status, code, words) in [
        (400, "ExpiredToken", "AWS_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "InvalidObjectState", "restore"),
        (403, "AccessDenied", "s3:GetObject"),
        (401, "Unauthorized", "AWS_ACCESS_KEY_ID"),
    ] {
        bucket.server.fail_next_gets(100, &Fault::refusal(status, code, "no"));
        let error = all(source.read(&object, 0..1)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        bucket.server.forget_faults();
    }
}

#[tokio::test]
async fn text_of_a_refusal_is_shortened_and_has_no_control_characters() {
    let (bucket, source, _) = Bucket::with_object().await;
    let object = only(&*source).await;
    let code = format!("Access&#27;{}", "Denied".repeat(1_000));
    let message = format!("no&#0;&#27;{}", "no".repeat(10_000));
    let fault = Fault::refusal(403, &code, &message);
    bucket.server.fail_next_gets(100, &fault);
    let read = all(source.read(&object, 0..1)).await.unwrap_err();
    bucket.server.fail_next(100, &fault);
    let listed = source.list().await.unwrap_err();
    for error in [read, listed] {
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.len() < 3_000, "{} bytes", text.len());
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    }
}
