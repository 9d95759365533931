//! Objects without accepted lines fail.

use jetline_datasets::Reason;
use jetline_store::{ChunkRows, entities::objects::State};

use crate::fixtures::{
    self, TestDatabase, both, chunk, complete, id, lease, read, unchanged, uncounted, watermark,
};

/// A chunk of these lines, which are all rejected.
fn rejected(object: i64, lines_before: u32, raw: &[&str]) -> ChunkRows {
    let lines = u32::try_from(raw.len()).unwrap();
    let mut chunk =
        fixtures::rejected(object, lines_before, lines, Reason::InvalidJson, "no record");
    for (line, raw) in chunk.rejected.iter_mut().zip(raw) {
        line.raw = raw.as_bytes().to_vec();
    }
    chunk
}

/// The end of an object whose first chunks are these.
async fn end(
    base: &TestDatabase,
    epoch: &jetline_core::Epoch,
    chunks: Vec<ChunkRows>,
) -> Option<String> {
    let lines: u32 = chunks.iter().map(|chunk| chunk.range.lines).sum();
    for chunk in chunks {
        base.counts(epoch, chunk).await;
    }
    read(&base.ledger, &complete(lines.into())).await;
    let ended = base.settle().await;
    assert_eq!(ended.len(), 1);
    ended[0].error.clone()
}

#[tokio::test]
async fn object_without_accepted_lines_fails_and_keeps_its_counts() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        // It ends although an earlier object is open, and the epoch does not end: there are no open claims.
        lease(&base.ledger, "other").await.unwrap();
        let mut chunk = rejected(2, 0, &["id,title", "1,t"]);
        chunk.range.lines += 1;
        chunk.range.end += 10;
        chunk.blank = 1;
        let error = end(&base, &epoch, vec![chunk]).await.unwrap();
        assert_eq!(
            error,
            "none of its lines was accepted (2 rejected); it looks like CSV or a similar table, not JSON Lines; \
             first: line 1, byte 0: invalid_json: no record"
        );
        let status = base.status(2).await;
        assert_eq!((status.rejected, status.lines()), (2, 2));
        assert_eq!((status.state, status.error), (State::Failed, Some(error)));
        assert_eq!(base.epoch_in_force().await, epoch);
        let finished = base.ledger.objects.record_outcomes(&[(id(1), complete(0))], "other").await;
        assert_eq!(finished.unwrap(), 1);
        base.settle().await;
        assert_eq!((watermark(&base.ledger).await, base.chunks().await), (3, vec![]));
        assert_eq!(base.status(2).await.rejected, 2);
    }
}

#[tokio::test]
async fn probable_format_is_named() {
    for (lines, form) in [
        (&["["][..], "a JSON array"),
        (&["[{\"id\":1},", "{\"id\":2}]"], "a JSON array"),
        (&["{", "\"id\": 1", "}"], "pretty-printed JSON"),
        (&["<html>", "</html>"], "XML or HTML"),
        (&["id;title", "1;t"], "CSV"),
    ] {
        let [base, _] = both().await;
        let (base, epoch) = base.with_objects(1).await;
        let error = end(&base, &epoch, vec![rejected(1, 0, lines)]).await;
        let error = error.unwrap();
        assert!(error.contains(form), "{lines:?}: {error}");
    }
}

#[tokio::test]
async fn object_with_any_accepted_line_is_done() {
    for bad in [&["["][..], &["[1]", "[2]"], &["id,title", "1,t"], &["{\"id\":", "x]"]] {
        let [base, _] = both().await;
        let (base, epoch) = base.with_objects(1).await;
        let (first, others) = bad.split_first().unwrap();
        let mut chunks = vec![rejected(1, 0, &[first]), chunk(1, 1, &[(1, "good")])];
        if !others.is_empty() {
            chunks.push(rejected(1, 2, others));
        }
        assert_eq!(end(&base, &epoch, chunks).await, None, "{bad:?}");
    }
    // Unchanged and superseded lines are accepted too.
    let [base, _] = both().await;
    let (base, epoch) = base.with_objects(1).await;
    let chunks = vec![rejected(1, 0, &["x", "y"]), unchanged(1, 2, 1)];
    assert_eq!(end(&base, &epoch, chunks).await, None);
}

#[tokio::test]
async fn object_without_lines_or_with_blank_ones_only_is_done() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        assert_eq!(end(&base, &epoch, Vec::new()).await, None);
        let blank = ChunkRows { blank: 3, ..uncounted(2, 0, 3) };
        assert_eq!(end(&base, &epoch, vec![blank]).await, None);
        assert_eq!(base.object(2).await.state, State::Done);
    }
}
