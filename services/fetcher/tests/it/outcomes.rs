//! The summary of a run, and which runs succeed.

use jetline_fetcher::{DismissSettings, dismiss};
use jetline_store::ObjectState as State;

use crate::scene::{BUCKET, Scene, gzip, lines};

const ROOMY: u32 = 1 << 20;

#[tokio::test]
async fn run_interrupted_before_listing_is_not_complete() {
    let scene = Scene::new(ROOMY).await;
    scene.s3.put(BUCKET, "a.jsonl", lines(10));
    scene.shutdown.soft.cancel();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    let text = report.to_string();
    assert!(text.contains("were not listed"), "{text}");
    assert!(!text.contains("no objects"), "{text}");
}

#[tokio::test]
async fn object_that_failed_before_is_named_until_it_is_dismissed_or_overwritten() {
    let scene = Scene::new(ROOMY).await;
    for key in ["a.jsonl.gz", "b.jsonl.gz", "c.jsonl"] {
        scene.s3.put(BUCKET, key, lines(10));
    }
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    assert_eq!((report.objects.len(), report.failed_before), (3, 0));

    let report = scene.fetch().await;
    assert!(!report.is_complete());
    assert_eq!((report.objects.len(), report.failed_before), (0, 2));
    let text = report.to_string();
    for words in [
        "Nothing new: all 3",
        "Known objects that failed: 2",
        "object 1 (a.jsonl.gz): object is not gzip",
        "object 2 (b.jsonl.gz)",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    // It is a new version, and the failed one is no longer listed.
    scene.s3.put(BUCKET, "a.jsonl.gz", gzip(&lines(10)).await);
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    assert_eq!((report.objects.len(), report.failed_before), (1, 1));
    assert!(report.to_string().contains("object 2 (b.jsonl.gz)"), "{report}");

    let second = DismissSettings { object: 2 };
    dismiss(&second, &scene.ledger.objects, 1).await.unwrap();
    let report = scene.fetch().await;
    assert!(report.is_complete(), "{report}");
    assert!(!report.to_string().contains("failed"), "{report}");
}

#[tokio::test]
async fn content_that_is_not_json_lines_fails_and_is_not_published() {
    let scene = Scene::new(ROOMY).await;
    let text = String::from_utf8(lines(1_000)).unwrap();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let twice = gzip(&gzip(text.as_bytes()).await).await;
    let zip = [&b"PK\x03\x04"[..], text.as_bytes()].concat();
    let xz = gzip(&[&b"\xfd7zXZ\0"[..], text.as_bytes()].concat()).await;
    for (key, content) in [
        ("1.jsonl", utf16),
        ("2.jsonl.gz", twice),
        ("3.jsonl", zip),
        ("4.jsonl.gz", xz),
        ("5.jsonl", lines(10)),
    ] {
        scene.s3.put(BUCKET, key, content);
    }
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    let forms = ["UTF-16 text", "gzip data, compressed once more", "a zip archive", "xz data"];
    for (object, form) in report.objects.iter().zip(forms) {
        assert_eq!((object.state, object.lines()), (State::Failed, 0));
        let error = object.error.as_deref().unwrap();
        assert_eq!(error, format!("object is not JSON or CSV: its content begins like {form}"));
    }
    assert_eq!(report.objects[4].state, State::Done);
    assert_eq!(scene.starts(), [(5, 0)]);
}

#[tokio::test]
async fn object_whose_chunks_are_too_long_for_the_queue_stays_open_and_the_others_are_read() {
    let mut scene = Scene::new(60).await;
    scene.s3.put(BUCKET, "a.jsonl", lines(30));
    scene.register().await;
    scene.settings.chunk_bytes = 60;
    scene.s3.put(BUCKET, "b.jsonl", lines(10));
    // Each chunk has the header, too.
    scene.s3.put(BUCKET, "c.csv", format!("id,{}\n1,x\n", "x".repeat(27)));
    scene.spawn_writer();
    let report = scene.fetch().await;
    assert!(!report.is_complete());
    let states: Vec<_> = report.objects.iter().map(|object| object.state).collect();
    assert_eq!(states, [State::Registered, State::Done, State::Registered]);
    let text = report.to_string();
    for bytes in [100, 65] {
        let message = format!("a chunk has {bytes} bytes, and the queue's messages hold 60");
        assert!(text.contains(&message), "{text}");
    }
}
