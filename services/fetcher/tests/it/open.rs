//! Refused reads, and objects that change while they are read: which objects stay open, how the run ends, and what the
//! next run does.

use std::{num::NonZeroUsize, time::Duration};

use jetline_store::ObjectState as State;
use jetline_testkit::s3::Fault;

use crate::scene::{BUCKET, Scene, ended, gzip, lines, until};

const ROOMY: u32 = 1 << 20;

fn expired() -> Fault {
    Fault::refusal(400, "ExpiredToken", "The provided token has expired.")
}

/// A line in a Zstandard frame with a window of 256 MiB, which is refused with the default `ZSTD_WINDOW`.
fn long_window() -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3, (10 << 3) | 1, 0, 0];
    frame.extend(lines(1));
    frame
}

#[tokio::test]
async fn refused_objects_stay_open_with_the_reason_and_the_next_run_reads_them() {
    for (status, code) in [
        (400, "ExpiredToken"),
        (401, "Unauthorized"),
        (403, "AccessDenied"),
        (403, "RequestTimeTooSkewed"),
        (403, "InvalidObjectState"),
        (404, "NoSuchKey"),
    ] {
        let scene = Scene::new(ROOMY).await;
        for key in ["a.jsonl", "b.jsonl", "c.jsonl"] {
            scene.s3.put(BUCKET, key, lines(30));
        }
        let fault = Fault::refusal(status, code, "no");
        scene.s3.fail_next_gets(1, &Fault::Delay(Duration::ZERO));
        scene.s3.fail_next_gets(1_000, &fault);
        scene.spawn_writer();
        let report = scene.fetch().await;
        assert!(!report.is_complete());
        for object in &report.objects {
            assert_eq!(object.state, State::Registered, "{code}: {report}");
            let error = object.error.as_deref().unwrap();
            assert!(error.contains(code), "{error}");
            assert!(report.to_string().contains(error), "{report}");
        }
        scene.s3.forget_faults();
        let report = scene.fetch().await;
        assert!(report.is_complete(), "{code}: {report}");
        for object in 1..=3 {
            assert_eq!(scene.content(object), lines(30));
        }
    }
}

#[tokio::test]
async fn refused_object_does_not_affect_others_of_its_batch() {
    let scene = Scene::new(ROOMY).await;
    for key in ["a.jsonl", "c.jsonl"] {
        scene.s3.put(BUCKET, key, lines(10));
    }
    scene.s3.put(BUCKET, "b.jsonl.zst", long_window());
    scene.spawn_writer();
    let report = scene.fetch().await;
    let open: Vec<_> = report
        .objects
        .iter()
        .filter(|object| object.state != State::Done)
        .map(|object| object.uri.rsplit_once('/').unwrap().1)
        .collect();
    assert_eq!((open, report.objects.len()), (vec!["b.jsonl.zst"], 3));
}

#[tokio::test]
async fn watching_fetcher_retries_a_refused_object() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.watch = Some(Duration::from_millis(50));
    scene.s3.put(BUCKET, "a.jsonl", lines(30));
    scene.s3.fail_next_gets(2, &expired());
    scene.spawn_writer();
    let fetcher = scene.spawn_fetcher().await;
    until(&scene, "SELECT state = 'done' AND refusals = 0 FROM objects").await;
    scene.shutdown.soft.cancel();
    assert!(ended(fetcher).await.is_complete());
    assert_eq!((scene.content(1), scene.s3.fired().answer), (lines(30), 2));
}

#[tokio::test]
async fn run_ends_without_an_object_that_waits_for_a_refused_one() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.reconcile_after = Duration::from_millis(100);
    scene.settings.fetch_batch = NonZeroUsize::MIN;
    scene.s3.put(BUCKET, "a.jsonl.zst", long_window());
    scene.register().await;
    scene.s3.put(BUCKET, "b.jsonl", lines(30));
    scene.register().await;
    // The rest of it was published once, and can no longer be read.
    scene.commit(2, 100, 10).await;
    scene.s3.delete(BUCKET, "b.jsonl");
    scene.spawn_writer();
    let report = scene.fetch().await;
    let states: Vec<_> = report.objects.iter().map(|object| object.state).collect();
    assert_eq!(states, [State::Registered, State::Loading]);
    scene.settings.zstd_window = 256 << 20;
    let report = scene.fetch().await;
    let states: Vec<_> = report.objects.iter().map(|object| object.state).collect();
    assert_eq!(states, [State::Done, State::Failed]);
}

#[tokio::test]
async fn truncated_object_fails_although_its_read_was_refused_before() {
    let scene = Scene::new(ROOMY).await;
    let mut stored = gzip(&lines(5_000)).await;
    stored.truncate(stored.len() / 2);
    scene.s3.put(BUCKET, "a.jsonl.gz", stored);
    scene.s3.fail_next_gets(1_000, &expired());
    scene.spawn_writer();
    assert_eq!(scene.fetch().await.objects[0].state, State::Registered);
    scene.s3.forget_faults();
    let report = scene.fetch().await;
    assert_eq!(report.objects[0].state, State::Failed);
    let error = report.objects[0].error.as_deref().unwrap();
    assert!(error.contains("truncated"), "{error}");
}

#[tokio::test]
async fn run_ends_without_an_object_that_keeps_changing_and_the_next_one_reads_it() {
    let scene = Scene::new(ROOMY).await;
    scene.s3.put(BUCKET, "a.jsonl", lines(10));
    scene.s3.put(BUCKET, "b.jsonl", lines(10));
    for (read, more) in (1..=100).zip(1..) {
        scene.s3.overwrite_before_get(read, BUCKET, "b.jsonl", lines(10 + more));
    }
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    let (first, versions) = report.objects.split_first().unwrap();
    assert_eq!(first.state, State::Done);
    assert!((2..=5).contains(&versions.len()), "{report}");
    for version in versions {
        assert_eq!(version.state, State::Failed);
        let error = version.error.as_deref().unwrap();
        assert!(error.contains("overwritten"), "{error}");
    }
    scene.s3.forget_changes();
    let report = scene.fetch().await;
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.objects[0].state, State::Done);
}

#[tokio::test]
async fn pattern_that_matches_nothing_is_an_error_unless_it_is_watched() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.source = vec![format!("s3://{BUCKET}/*.gz").parse().unwrap()];
    scene.s3.put(BUCKET, "a.jsonl", lines(10));
    let error = scene.spawn_fetcher().await.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("*.gz (SOURCE)"), "{error}");

    let both = format!("s3://{BUCKET}/*.gz,s3://{BUCKET}/*.jsonl");
    scene.settings.source = vec![both.parse().unwrap()];
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete() && report.objects[0].state == State::Done);
    assert!(report.to_string().contains("No object matches"), "{report}");

    scene.settings.watch = Some(Duration::from_millis(50));
    let fetcher = scene.spawn_fetcher().await;
    scene.s3.put(BUCKET, "b.jsonl.gz", gzip(&lines(10)).await);
    until(&scene, "SELECT COUNT(*) = 2 FROM objects WHERE state = 'done'").await;
    scene.shutdown.soft.cancel();
    assert!(ended(fetcher).await.is_complete());
}

#[tokio::test]
async fn entry_that_cannot_be_read_is_named_in_the_summary_and_the_others_are_read() {
    let mut scene = Scene::new(ROOMY).await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.jsonl"), lines(10)).unwrap();
    std::os::unix::fs::symlink("b.jsonl", directory.path().join("b.jsonl")).unwrap();
    scene.settings.source = vec![directory.path().to_str().unwrap().parse().unwrap()];
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    assert_eq!(report.objects[0].state, State::Done);
    let text = report.to_string();
    assert!(text.contains("Skipped: file://") && text.contains("leads to itself"), "{text}");
}

#[tokio::test]
async fn window_that_is_too_large_keeps_the_object_open_until_it_is_allowed() {
    let mut scene = Scene::new(ROOMY).await;
    scene.s3.put(BUCKET, "a.jsonl.zst", long_window());
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert_eq!(report.objects[0].state, State::Registered);
    assert!(report.to_string().contains("ZSTD_WINDOW"), "{report}");
    scene.settings.zstd_window = 256 << 20;
    let report = scene.fetch().await;
    assert!(report.is_complete(), "{report}");
    assert_eq!(scene.content(1), lines(1));
}
