//! Which ranges are read and published.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use jetline_store::ObjectState as State;
use sea_orm::ConnectionTrait;

use crate::scene::{BUCKET, Scene, ended, gzip, lines, until};

const ROOMY: u32 = 1 << 20;

fn starts(object: i64, starts: &[u64]) -> Vec<(i64, u64)> {
    starts.iter().map(|start| (object, *start)).collect()
}

#[tokio::test]
async fn every_line_is_published_once_and_a_second_run_reads_nothing() {
    let scene = Scene::new(ROOMY).await;
    scene.s3.put(BUCKET, "a.jsonl", lines(25));
    scene.s3.put(BUCKET, "b.jsonl", lines(10));
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(report.is_complete());
    assert_eq!((report.listed, report.objects.len()), (2, 2));
    assert_eq!(scene.starts(), [(1, 0), (1, 100), (1, 200), (2, 0)]);
    assert_eq!(scene.content(1), lines(25));
    let object = &report.objects[0];
    assert_eq!((object.lines(), object.total_bytes), (25, Some(250)));

    let (gets, lists) = (scene.s3.gets(), scene.s3.lists());
    let report = scene.fetch().await;
    assert_eq!((report.listed, report.objects.len()), (2, 0));
    assert!(report.to_string().starts_with("Nothing new"));
    assert_eq!((scene.s3.gets(), scene.s3.lists()), (gets, lists + 1));
}

#[tokio::test]
async fn small_objects_are_read_together_and_published_in_order() {
    let scene = Scene::new(ROOMY).await;
    let all: Vec<i64> = (1..=10).collect();
    for number in &all {
        let lines = lines(u32::try_from(*number).unwrap() * 3);
        scene.s3.put(BUCKET, &format!("{number:02}.jsonl"), lines);
    }
    scene.spawn_writer();
    assert!(scene.fetch().await.is_complete());
    let published: Vec<_> = {
        let received = scene.received.lock().unwrap();
        let received = received.iter();
        received.map(|chunk| (chunk.object, chunk.start)).collect()
    };
    assert!(published.is_sorted(), "{published:?}");
    for number in all {
        let lines = lines(u32::try_from(number).unwrap() * 3);
        assert_eq!(scene.content(number), lines);
    }
    // A part has 150 bytes: each is requested once.
    assert_eq!(scene.s3.gets(), 5 + 2 * 5);
}

#[tokio::test]
async fn empty_source_is_not_an_error() {
    let scene = Scene::new(ROOMY).await;
    let report = scene.fetch().await;
    assert!(report.is_complete());
    assert!(report.to_string().contains("no objects"));
}

#[tokio::test]
async fn chunk_limits_are_those_of_the_registration() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.chunk_lines = NonZeroU32::new(4).unwrap();
    for key in ["a.jsonl", "b.jsonl"] {
        scene.s3.put(BUCKET, key, lines(15));
    }
    scene.register().await;
    // As if it had been registered by a version without this limit.
    let unlimited = "UPDATE objects SET chunk_lines = NULL WHERE id = 1";
    let ledger = scene.ledger.database().connection();
    ledger.execute_unprepared(unlimited).await.unwrap();
    scene.settings.chunk_lines = NonZeroU32::new(7).unwrap();
    scene.commit(2, 80, 4).await;
    scene.spawn_writer();
    assert!(scene.fetch().await.is_complete());
    assert_eq!(scene.starts(), [(1, 0), (1, 100), (2, 0), (2, 40), (2, 120)]);
}

#[tokio::test]
async fn committed_ranges_are_not_read_again() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.chunk_bytes = 100;
    scene.s3.put(BUCKET, "a.jsonl", lines(100));
    scene.register().await;
    for start in [0, 100, 200, 300, 500, 600, 700, 800] {
        scene.commit(1, start, 10).await;
    }
    let gets = scene.s3.gets();
    scene.spawn_writer();
    assert!(scene.fetch().await.is_complete());
    assert_eq!(scene.starts(), starts(1, &[400, 900]));
    // The parts of the beginning, by which the format is detected, and for each gap its hundred bytes.
    assert_eq!(scene.s3.gets() - gets, 7 + 2);
}

#[tokio::test]
async fn compressed_object_is_resumed_in_the_middle() {
    let scene = Scene::new(ROOMY).await;
    scene.s3.put(BUCKET, "a.jsonl.gz", gzip(&lines(55)).await);
    scene.register().await;
    for start in [0, 100, 300] {
        scene.commit(1, start, 10).await;
    }
    scene.spawn_writer();
    assert!(scene.fetch().await.is_complete());
    assert_eq!(scene.starts(), starts(1, &[200, 400, 500]));
    let content = scene.content(1);
    assert_eq!(content[..100], lines(55)[200..300]);
    assert_eq!(content[100..], lines(55)[400..]);
}

#[tokio::test]
async fn only_lost_chunks_are_read_again() {
    for key in ["a.jsonl", "a.jsonl.gz"] {
        let scene = Scene::new(ROOMY).await;
        let content = match key {
            "a.jsonl.gz" => gzip(&lines(55)).await,
            _ => lines(55),
        };
        scene.s3.put(BUCKET, key, content);
        scene.queue.lose(&[100, 200, 500]);
        scene.spawn_writer();
        let report = scene.fetch().await;
        assert!(report.is_complete(), "{report}");
        let all = starts(1, &[0, 100, 200, 300, 400, 500]);
        assert_eq!(scene.starts(), all);
        assert_eq!(scene.content(1), lines(55));
    }
}

#[tokio::test]
async fn fetcher_waits_for_a_full_queue_and_loses_nothing() {
    let scene = Scene::new(120).await;
    scene.s3.put(BUCKET, "a.jsonl", lines(300));
    scene.queue.set_error(Some(|| jetline_queue::Error::Full));
    let fetcher = scene.spawn_fetcher().await;
    until(&scene, "SELECT COUNT(*) = 1 FROM objects WHERE state = 'reading'").await;
    scene.queue.set_error(None);
    scene.spawn_writer();
    let report = ended(fetcher).await;
    assert!(report.is_complete());
    assert_eq!(scene.starts().len(), 30);
    assert_eq!(scene.content(1), lines(300));
}

#[tokio::test]
async fn fetcher_whose_lease_is_lost_stops_reading() {
    // The other object is read after it, or was leased with it: then it is read again.
    for (batch, readings) in [(1, 1), (2, 2)] {
        let mut scene = Scene::new(120).await;
        scene.settings.lease = Duration::from_secs(1);
        scene.settings.fetch_batch = NonZeroUsize::new(batch).unwrap();
        scene.s3.put(BUCKET, "a.jsonl", lines(300));
        scene.s3.put(BUCKET, "b.jsonl", lines(10));
        let fetcher = scene.spawn_fetcher().await;
        // It has published a chunk and waits for the queue.
        until(&scene, "SELECT state = 'reading' FROM objects WHERE id = 1").await;
        run(
            &scene,
            "UPDATE objects SET lease_owner = 'other', lease_until = lease_until + 3600000 WHERE id = 1",
        )
        .await;
        let reading =
            format!("SELECT readings = {readings} FROM objects WHERE id = 2 AND state = 'reading'");
        until(&scene, &reading).await;
        scene.spawn_writer();
        until(&scene, "SELECT state = 'done' FROM objects WHERE id = 2").await;
        let first = scene.starts().iter().filter(|(object, _)| *object == 1).count();
        assert!(first <= 1, "{first}");
        scene.shutdown.soft.cancel();
        let report = ended(fetcher).await;
        assert!(!report.is_complete());
    }
}

#[tokio::test]
async fn watching_fetcher_registers_new_objects() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.watch = Some(Duration::from_millis(50));
    scene.spawn_writer();
    let fetcher = scene.spawn_fetcher().await;
    for (number, key) in (1..).zip(["a.jsonl", "b.jsonl", "a.jsonl"]) {
        scene.s3.put(BUCKET, key, lines(number * 10));
        let done = format!("SELECT COUNT(*) = {number} FROM objects WHERE state = 'done'");
        until(&scene, &done).await;
    }
    scene.shutdown.soft.cancel();
    let report = ended(fetcher).await;
    assert!(report.is_complete());
    assert_eq!(report.objects.len(), 3);
    let states = report.objects.iter().map(|object| object.state);
    assert!(states.eq([State::Done; 3]));
}

#[tokio::test]
async fn objects_registered_by_another_fetcher_are_reported() {
    let mut scene = Scene::new(ROOMY).await;
    scene.settings.watch = Some(Duration::from_hours(1));
    scene.s3.put(BUCKET, "a.jsonl", lines(10));
    scene.spawn_writer();
    let fetcher = scene.spawn_fetcher().await;
    let done = |count| format!("SELECT COUNT(*) = {count} FROM objects WHERE state = 'done'");
    until(&scene, &done(1)).await;
    scene.s3.put(BUCKET, "b.jsonl", lines(10));
    scene.register().await;
    until(&scene, &done(2)).await;
    scene.shutdown.soft.cancel();
    assert_eq!(ended(fetcher).await.objects.len(), 2);
}

async fn run(scene: &Scene, sql: &str) {
    use sea_orm::ConnectionTrait;
    let db = scene.ledger.database().connection();
    db.execute_unprepared(sql).await.unwrap();
}
