//! Sources that fail while an object is read, temporarily or permanently.

use std::time::Duration;

use jetline_store::ObjectState as State;
use jetline_testkit::s3::Fault;

use crate::scene::{BUCKET, Scene, gzip, lines};

const ROOMY: u32 = 1 << 20;

#[tokio::test]
async fn object_whose_read_is_interrupted_is_split_at_the_same_offsets() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.chunk_bytes = 1_000;
    scene.s3.put(BUCKET, "a.jsonl", lines(7_000));
    // Parts of 150 bytes succeed up to byte 66,000, behind the beginning by which the format is detected; the next one is
    // truncated more often than the source retries.
    scene.s3.fail_next_gets(440, &Fault::Delay(Duration::ZERO));
    scene.s3.fail_next_gets(6, &Fault::CutBody(7));
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(report.is_complete(), "{report}");
    let starts: Vec<_> = (0..70).map(|chunk| (1, chunk * 1_000)).collect();
    assert_eq!(scene.starts(), starts);
    assert_eq!(scene.content(1), lines(7_000));
    // The parts, six attempts at the next one, the object's beginning again, and the parts from byte 65,000 on: whether the
    // chunk that begins there had ended was not known.
    assert_eq!(scene.s3.gets(), 440 + 6 + 65_536_u64.div_ceil(150) + 5_000_u64.div_ceil(150));
}

#[tokio::test]
async fn truncated_object_fails_and_keeps_its_complete_lines() {
    let scene = Scene::new(ROOMY).await;
    let content = lines(5_000);
    let mut stored = gzip(&content).await;
    stored.truncate(stored.len() / 2);
    scene.s3.put(BUCKET, "a.jsonl.gz", stored);
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    let object = &report.objects[0];
    assert_eq!(object.state, State::Failed);
    let error = object.error.as_deref().unwrap();
    assert!(error.contains("truncated"), "{error}");
    let read = scene.content(1);
    assert!(content.starts_with(&read) && read.ends_with(b"\n"));
    assert!(object.lines() > 0 && object.lines() * 10 == i64::try_from(read.len()).unwrap());
}

#[tokio::test]
async fn object_that_is_overwritten_fails_and_its_new_version_is_read() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.reconcile_after = Duration::from_millis(100);
    scene.s3.put(BUCKET, "a.jsonl", lines(30));
    scene.register().await;
    scene.s3.put(BUCKET, "a.jsonl", lines(20));
    scene.spawn_writer();
    let report = scene.fetch().await;
    let states: Vec<_> = report.objects.iter().map(|object| object.state).collect();
    assert_eq!(states, [State::Failed, State::Done]);
    let error = report.objects[0].error.as_deref().unwrap();
    assert!(error.contains("overwritten"), "{error}");
    assert_eq!(scene.content(2), lines(20));
}

#[tokio::test]
async fn lost_chunk_of_a_deleted_object_fails_it() {
    let scene = Scene::new(ROOMY).await;
    scene.s3.put(BUCKET, "a.jsonl", lines(30));
    scene.register().await;
    scene.commit(1, 100, 10).await;
    scene.s3.delete(BUCKET, "a.jsonl");
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    let object = &report.objects[0];
    assert_eq!((object.state, object.lines()), (State::Failed, 10));
    let error = object.error.as_deref().unwrap();
    assert!(error.contains("deleted"), "{error}");
}

#[tokio::test]
async fn deleted_object_does_not_affect_others_of_its_batch() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.reconcile_after = Duration::from_secs(1);
    for key in ["a.jsonl", "b.jsonl", "c.jsonl"] {
        scene.s3.put(BUCKET, key, lines(30));
    }
    scene.register().await;
    scene.s3.delete(BUCKET, "b.jsonl");
    scene.spawn_writer();
    let report = scene.fetch().await;
    let states: Vec<_> = report.objects.iter().map(|object| object.state).collect();
    assert_eq!(states, [State::Done, State::Failed, State::Done]);
    assert_eq!(scene.content(3), lines(30));
}

#[tokio::test]
async fn interrupted_prefetch_is_resumed() {
    let scene = Scene::new(ROOMY).await;
    for key in ["a.jsonl", "b.jsonl", "c.jsonl"] {
        scene.s3.put(BUCKET, key, lines(30));
    }
    // More often than the source retries for all of them together.
    scene.s3.fail_next_gets(20, &Fault::CutBody(7));
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(report.is_complete(), "{report}");
    for object in 1..=3 {
        assert_eq!(scene.content(object), lines(30));
    }
}
