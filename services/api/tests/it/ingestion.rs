//! The endpoints of objects and rejected lines.

use sea_orm::Value;
use serde_json::json;

use crate::fixtures::TestApi;

async fn object(base: &TestApi, id: i64, state: &str) {
    base.execute(
        "INSERT INTO objects (id, registration, dataset, root, key, etag, size, last_modified, \
         chunk_bytes, max_line_bytes, state, total_bytes, folded_bytes, inserted, updated, unchanged, \
         superseded, rejected, registered_at) VALUES ($1, 'r', 'products', 's3://bucket', $2, 'e', 1000, \
         $3, 1, 1, $4, 5000, 100, 1, 2, 3, 4, 5, $3)",
        [
            id.into(),
            format!("{id}.jsonl").into(),
            Value::from("2026-11-21T12:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap()),
            state.into(),
        ],
    )
    .await;
}

async fn chunk(base: &TestApi, object: i64, start: i64, state: &str) {
    let at: chrono::DateTime<chrono::Utc> = "2026-11-21T12:00:00Z".parse().unwrap();
    base.execute(
        "INSERT INTO chunks (object_id, start_offset, end_offset, first_line, line_count, state, inserted, \
         committed_at) VALUES ($1, $2, $3, 1, 1, $4, 10, $5)",
        [object.into(), start.into(), (start + 10).into(), state.into(), at.into()],
    )
    .await;
}

async fn reject(base: &TestApi, object: i64, line: i64, raw: &[u8]) {
    base.execute(
        "INSERT INTO rejected_lines (object_id, line, byte_offset, reason, message, raw) \
         VALUES ($1, $2, 17, 'invalid_json', 'expected value', $3)",
        [object.into(), line.into(), raw.to_vec().into()],
    )
    .await;
}

#[tokio::test]
async fn object_shows_its_counts_and_progress() {
    for base in TestApi::both().await {
        object(&base, 1, "loading").await;
        chunk(&base, 1, 100, "committed").await;
        chunk(&base, 1, 110, "forgotten").await;
        chunk(&base, 1, 120, "dead").await;
        let answer = base.get("/objects/1").await;
        let expected = json!({
            "id": 1,
            "uri": "s3://bucket/1.jsonl",
            "etag": "e",
            "dataset": "products",
            "state": "loading",
            "error": null,
            "dismissed": false,
            "bytes": 1000,
            "total_bytes": 5000,
            "read_bytes": 5000,
            "committed_bytes": 110,
            "lines": 35,
            "inserted": 21,
            "updated": 2,
            "deleted": 0,
            "unchanged": 3,
            "superseded": 4,
            "rejected": 5,
            "registered_at": "2026-11-21T12:00:00Z",
            "done_at": null,
        });
        assert_eq!(answer.json(), expected);
        assert_eq!(base.get("/objects").await.json(), json!([expected]));
    }
}

#[tokio::test]
async fn missing_object_is_a_problem() {
    let base = TestApi::sqlite().await;
    assert_eq!(base.get("/objects/7").await.problem(404), "there is no object 7");
    assert!(base.get("/objects/x").await.problem(400).contains("`id`"));
}

#[tokio::test]
async fn objects_are_paged_by_links_that_keep_the_filter() {
    let base = TestApi::sqlite().await;
    for id in 1..=7 {
        object(&base, id, if id == 4 { "failed" } else { "done" }).await;
    }
    let pages = base.columns("/objects?state=done&dataset=products&limit=2", "id").await;
    assert_eq!(json!(pages), json!([[1, 2], [3, 5], [6, 7]]));
    assert_eq!(base.get("/objects").await.column("id").len(), 7);
    assert_eq!(base.get("/objects?state=failed").await.column("id"), [4]);
}

#[tokio::test]
async fn rejected_line_has_its_position_and_text() {
    for base in TestApi::both().await {
        reject(&base, 1, 3, b"nonsense").await;
        let answer = base.get("/rejects").await;
        let expected = json!([{
            "object": 1,
            "line": 3,
            "offset": 17,
            "reason": "invalid_json",
            "message": "expected value",
            "raw": "nonsense",
        }]);
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn rejected_line_that_is_not_utf8_has_base64_too() {
    let base = TestApi::sqlite().await;
    reject(&base, 1, 3, b"a\xff\x00").await;
    let reject = &base.get("/rejects").await.json()[0];
    assert_eq!(reject["raw"], "a\u{fffd}\u{0}");
    assert_eq!(reject["raw_base64"], "Yf8A");
}

#[tokio::test]
async fn rejected_line_is_truncated_between_characters_in_a_list_and_whole_alone() {
    for base in TestApi::both().await {
        let text = "\u{20ac}".repeat(3_000);
        let bytes = [b"\xff".repeat(5_000), b"x".repeat(4_096)];
        reject(&base, 1, 3, text.as_bytes()).await;
        reject(&base, 1, 4, &bytes[0]).await;
        reject(&base, 1, 5, &bytes[1]).await;
        let message = "\u{20ac}".repeat(1_000);
        base.execute("UPDATE rejected_lines SET message = $1", [message.into()]).await;

        let list = base.get("/rejects").await;
        assert_eq!(list.column("line"), [3, 4, 5]);
        assert_eq!(list.column("message"), vec!["\u{20ac}".repeat(341); 3]);
        assert_eq!(list.column("raw_truncated"), [json!(true), json!(true), json!(null)]);
        let raw = ["\u{20ac}".repeat(1365), "\u{fffd}".repeat(4096), "x".repeat(4096)];
        assert_eq!(list.column("raw"), raw);
        assert_eq!(list.column("raw_base64")[0], json!(null));

        let whole = base.get("/rejects/1/3").await.json();
        assert_eq!((&whole["raw"], &whole["line"]), (&json!(text), &json!(3)));
        assert_eq!(whole.get("raw_truncated"), None);
        let whole = base.get("/rejects/1/4").await.json();
        assert_eq!(whole["raw"], "\u{fffd}".repeat(5_000));
        assert_eq!(whole["raw_base64"].as_str().unwrap().len(), 6_668);
        let detail = base.get("/rejects/1/9").await.problem(404);
        assert_eq!(detail, "no line 9 of object 1 was rejected");
    }
}

#[tokio::test]
async fn page_of_long_lines_ends_early_and_the_next_one_continues() {
    for base in TestApi::both().await {
        // Each is six times as long in JSON.
        for line in 1..=120 {
            reject(&base, 1, line, &[1; 4_000]).await;
        }
        let pages = base.pages("/rejects?limit=1000").await;
        let mut lines = Vec::new();
        for page in &pages {
            assert!(page.body.len() <= 1 << 20, "{}", page.body.len());
            lines.extend(page.column("line"));
        }
        assert_eq!(json!(lines), json!((1..=120).collect::<Vec<_>>()));
        assert_eq!(pages.len(), 3);
    }
}

#[tokio::test]
async fn rejected_lines_are_paged_over_the_objects_and_within_one() {
    let base = TestApi::sqlite().await;
    for (object, line) in [(1, 5), (1, 50), (2, 1), (2, 2), (2, 3)] {
        reject(&base, object, line, b"x").await;
    }
    let pages = async |first: &str| json!(base.columns(first, "line").await);
    assert_eq!(pages("/rejects?limit=2").await, json!([[5, 50], [1, 2], [3]]));
    assert_eq!(pages("/rejects?object=2&limit=2").await, json!([[1, 2], [3]]));
    assert_eq!(pages("/rejects?object=9").await, json!([[]]));
}
