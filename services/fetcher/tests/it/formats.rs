//! Objects in other formats than JSON Lines: what is published, and how they end.

use bytes::Bytes;
use jetline_formats::{Delimiter, Format};
use jetline_store::ObjectState as State;

use crate::scene::{BUCKET, Scene, gzip};

const ROOMY: u32 = 1 << 20;

/// An array of `count` objects that have ten bytes with what is before them, and three bytes behind them.
fn array(count: u32) -> Vec<u8> {
    let values: Vec<String> =
        (10..10 + count).map(|number| format!("{{\"a\":{number}}}")).collect();
    format!("[\n{}\n]\n", values.join(",\n")).into_bytes()
}

/// A header of ten bytes, and `count` records of ten bytes.
fn csv(count: u32) -> Vec<u8> {
    let records = (1..=count).map(|number| format!("{number:05},\"\n\"\n"));
    ["id,\"name\"\n".to_owned(), records.collect()].concat().into_bytes()
}

#[tokio::test]
async fn array_is_read_to_its_end_from_wherever_a_read_resumes() {
    // The chunks that were committed before: start, end, first line, lines.
    let [first, second, third] = [(0, 100, 1, 10), (100, 200, 11, 10), (200, 253, 21, 6)];
    let before: [&[(u64, u64, u32, u32)]; 5] = [
        &[],
        &[first],
        &[first, third],
        &[second],
        // Only that it was read to its end is not recorded.
        &[first, second, third],
    ];
    for key in ["a.json", "a.json.gz"] {
        for chunks in before {
            let scene = Scene::new(ROOMY).await;
            let content = array(25);
            let stored = if key == "a.json" { content.clone() } else { gzip(&content).await };
            scene.s3.put(BUCKET, key, stored);
            scene.register().await;
            for (start, end, first_line, lines) in chunks {
                scene.commit_chunk(1, *start, *end, *first_line, *lines).await;
            }
            scene.spawn_writer();
            let report = scene.fetch().await;
            assert!(report.is_complete(), "{report}");
            let missing = [0, 100, 200].into_iter();
            let missing = missing.filter(|start| !chunks.iter().any(|chunk| chunk.0 == *start));
            let missing: Vec<(i64, u64)> = missing.map(|start| (1, start)).collect();
            assert_eq!(scene.starts(), missing, "{key} {chunks:?}");
            let received = scene.received.lock().unwrap();
            assert!(received.iter().all(|chunk| chunk.format == Format::JsonArray));
            assert_eq!(report.objects[0].total_bytes, Some(253));
        }
    }
}

#[tokio::test]
async fn damaged_array_fails_and_what_is_before_the_damage_is_committed() {
    for (end, error) in [
        ("", "damaged at byte 250: the content ends before the end of the array"),
        (",\n{\"a\"", "damaged at byte 256: the content ends inside a value"),
        ("]\n[]", "damaged at byte 252: the end of the array is followed by other text"),
    ] {
        for lost in [&[][..], &[200]] {
            let scene = Scene::new(ROOMY).await;
            let content = array(25);
            let content = [&content[..250], end.as_bytes()].concat();
            scene.s3.put(BUCKET, "a.json", content);
            scene.queue.lose(lost);
            scene.spawn_writer();
            let report = scene.fetch().await;
            let object = &report.objects[0];
            assert_eq!((object.state, object.lines()), (State::Failed, 25), "{end}");
            assert!(object.error.as_ref().unwrap().contains(error), "{:?}", object.error);
            assert_eq!(scene.content(1), array(25)[..250]);
        }
    }
}

#[tokio::test]
async fn chunk_of_csv_has_the_header_wherever_it_begins() {
    for key in ["a.csv", "a.csv.gz"] {
        let scene = Scene::new(ROOMY).await;
        let content = csv(24);
        let stored = if key == "a.csv" { content.clone() } else { gzip(&content).await };
        scene.s3.put(BUCKET, key, stored);
        scene.register().await;
        // Ten records in two lines each, but for the header.
        scene.commit_chunk(1, 100, 200, 20, 20).await;
        scene.spawn_writer();
        let report = scene.fetch().await;
        assert!(report.is_complete(), "{report}");
        assert_eq!(scene.starts(), [(1, 0), (1, 200)]);
        let received = scene.received.lock().unwrap();
        for chunk in received.iter() {
            assert_eq!(chunk.format, Format::Csv(Delimiter::Comma));
            assert_eq!(chunk.header, Bytes::from_static(b"id,\"name\""));
        }
        let first_lines: Vec<u32> = received.iter().map(|chunk| chunk.first_line).collect();
        assert_eq!(first_lines, [1, 40], "{key}");
        assert_eq!(received.iter().map(|chunk| chunk.lines).collect::<Vec<u32>>(), [19, 10]);
    }
}

#[tokio::test]
async fn object_whose_beginning_is_wrong_fails_with_the_reason() {
    let scene = Scene::new(ROOMY).await;
    let hostile = [
        ("a.csv", &b"id,id\n1,2\n"[..], "columns 1 and 2 have the same name"),
        ("b.jsonl", b"[\n{\"id\":1},\n", "let its name end in .json"),
        ("c.csv", b"\xff\xfei\0d\0\n\0", "its content begins like UTF-16 text"),
    ];
    for (key, content, _) in hostile {
        scene.s3.put(BUCKET, key, content.to_vec());
    }
    scene.spawn_writer();
    let report = scene.fetch().await;
    for (object, (key, _, reason)) in report.objects.iter().zip(hostile) {
        let error = object.error.as_deref().unwrap_or_default();
        assert!(object.state == State::Failed && error.contains(reason), "{key}: {error}");
    }
}
