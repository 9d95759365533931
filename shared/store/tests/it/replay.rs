//! Replays.

use std::{collections::HashSet, num::NonZeroU32};

use jetline_core::{Counts, Mode};
use jetline_datasets::Reason;
use jetline_store::{
    CommitOutcome,
    entities::{chunks, objects::State},
    objects::{ExistingVersion, Replay, ReplayOutcome},
};

use crate::fixtures::{
    LEASE_TERM, NO_COUNTS, ROOT, TestDatabase, begin, both, chunk, commit, commit_either, complete,
    declare, epoch_id, id, if_changed, lease, read, register, rejected_line, rows, watermark,
};

/// The objects in the source: all but the `gone` ones.
fn stored(count: i64, gone: &[i64]) -> HashSet<ExistingVersion> {
    let there = (1..=count).filter(|number| !gone.contains(number));
    there
        .map(|number| ExistingVersion {
            root: ROOT.to_owned(),
            key: number.to_string(),
            etag: "e".to_owned(),
        })
        .collect()
}

pub(crate) fn replay(from: i64, stored: &HashSet<ExistingVersion>) -> Replay<'_> {
    Replay {
        from: id(from),
        stored,
        incarnation: "again",
        chunk_bytes: 200,
        chunk_lines: NonZeroU32::MIN,
        max_line_bytes: 70,
        rewrite: false,
    }
}

fn opened(outcome: &ReplayOutcome) -> Vec<i64> {
    match outcome {
        ReplayOutcome::Opened(objects) => objects.iter().map(|one| one.object).collect(),
        other => panic!("{other:?}"),
    }
}

/// Three objects of a line each, all done and folded; the second one also has a rejected line.
async fn three_done(base: TestDatabase) -> (TestDatabase, jetline_core::Epoch) {
    let (base, epoch) = base.with_objects(3).await;
    for object in 1..=3 {
        let mut chunk = chunk(object, 0, &[(object, "a")]);
        if object == 2 {
            chunk.range.end += 10;
            chunk.range.lines += 1;
            chunk.rejected.push(rejected_line(2, Reason::InvalidJson, "no", b"?"));
        }
        let lines = chunk.range.lines;
        base.counts(&epoch, chunk).await;
        read(&base.ledger, &complete(lines.into())).await;
    }
    base.settle().await;
    assert_eq!((watermark(&base.ledger).await, base.chunks().await), (4, vec![]));
    (base, epoch)
}

#[tokio::test]
async fn object_and_all_after_it_are_reset_to_their_registration() {
    for base in both().await {
        let (base, _) = three_done(base).await;
        let stored = stored(3, &[]);
        let plan = base.ledger.objects.replay_plan(&replay(2, &stored)).await.unwrap();
        assert_eq!((opened(&plan), watermark(&base.ledger).await), (vec![2, 3], 4));
        let outcome = base.ledger.objects.replay(&replay(2, &stored)).await.unwrap();
        assert_eq!(outcome, plan);
        assert_eq!(watermark(&base.ledger).await, 2);
        assert_eq!(base.object(1).await.state, State::Done);
        for number in [2, 3] {
            let (object, status) = (base.object(number).await, base.status(number).await);
            assert_eq!((object.state, object.total_bytes), (State::Registered, None));
            assert_eq!((object.done_at, object.error), (None, None));
            assert_eq!((status.lines(), status.committed_bytes), (0, 0));
            // The queue may still deduplicate by the message ids of the first read attempt.
            assert_eq!(object.readings, 1);
            // No chunk is committed that was split with other limits: those of the replay apply now.
            let limits = (object.chunk_bytes, object.chunk_lines, object.max_line_bytes);
            assert_eq!(limits, (200, Some(1), 70));
        }
        assert_eq!(base.ledger.objects.oldest_rejected(None).await.unwrap(), None);
        // The rows are kept until they are committed again.
        assert!(base.product(3).await.is_some());
    }
}

#[tokio::test]
async fn epoch_before_a_replay_can_neither_be_committed_under_nor_joined() {
    for base in both().await {
        let (base, epoch) = three_done(base).await;
        let stored = stored(3, &[]);
        base.ledger.objects.replay(&replay(2, &stored)).await.unwrap();
        let late = [chunk(3, 0, &[(3, "b")])];
        assert_eq!(base.commit(&epoch, &late).await, CommitOutcome::EpochEnded);
        let next = begin(&base.ledger, Mode::Shared, None, 2).await;
        assert_eq!((next.id, next.base, next.recovery), (epoch_id(2), id(2), id(4)));
        // It was published before the replay.
        let range = late[0].range.clone();
        assert_eq!(base.commit(&next, &late).await, CommitOutcome::Stale(vec![range]));
        let mut again = chunk(3, 0, &[(3, "a")]);
        again.range.incarnation = "again".to_owned();
        assert_eq!(base.counts(&next, again).await.unchanged, 1);
    }
}

#[tokio::test]
async fn process_in_order_continues_after_a_replay() {
    for base in both().await {
        register(&base.ledger, 2).await;
        let first = begin(&base.ledger, Mode::InOrder, None, 1).await;
        base.ledger.objects.replay(&replay(1, &stored(2, &[]))).await.unwrap();
        let late = [chunk(1, 0, &[(1, "a")])];
        assert_eq!(base.commit(&first, &late).await, CommitOutcome::EpochEnded);
        let second = begin(&base.ledger, Mode::InOrder, Some(first.id), 2).await;
        assert_eq!(second.id, epoch_id(2));
    }
}

#[tokio::test]
async fn reader_of_a_replayed_object_loses_its_lease() {
    for base in both().await {
        register(&base.ledger, 1).await;
        lease(&base.ledger, "me").await.unwrap();
        base.ledger.objects.replay(&replay(1, &stored(1, &[]))).await.unwrap();
        let kept = base.ledger.objects.renew(&[id(1)], "me", LEASE_TERM).await;
        assert_eq!(kept.unwrap(), []);
        let finished = base.ledger.objects.record_outcomes(&[(id(1), complete(3))], "me").await;
        assert_eq!(finished.unwrap(), 0);
        let object = base.object(1).await;
        assert_eq!((object.state, object.total_bytes), (State::Registered, None));
        let other = lease(&base.ledger, "other").await.unwrap();
        assert_eq!((other.attempts, other.incarnation.as_str()), (2, "again"));
    }
}

#[tokio::test]
async fn missing_object_prevents_the_replay_unless_nothing_of_it_was_committed() {
    for base in both().await {
        let (base, _) = three_done(base).await;
        register(&base.ledger, 4).await;
        read(&base.ledger, &complete(0)).await;
        base.settle().await;
        let before = base.object(2).await;
        let outcome = base.ledger.objects.replay(&replay(2, &stored(4, &[3, 4]))).await;
        let ReplayOutcome::Missing(missing) = outcome.unwrap() else {
            panic!("it was not refused");
        };
        assert_eq!((missing.len(), missing[0].uri.as_str()), (1, "s3://bucket/3"));
        assert_eq!(base.object(2).await, before);
        assert!(base.ledger.epochs.current().await.unwrap().unwrap().in_force);

        let outcome = base.ledger.objects.replay(&replay(2, &stored(4, &[1, 4]))).await;
        assert_eq!(opened(&outcome.unwrap()), [2, 3]);
        assert_eq!(base.object(4).await.state, State::Done);
        let outcome = base.ledger.objects.replay(&replay(4, &stored(4, &[4]))).await;
        assert!(matches!(outcome.unwrap(), ReplayOutcome::Missing(_)));
        let outcome = base.ledger.objects.replay(&replay(5, &stored(4, &[]))).await;
        assert_eq!(outcome.unwrap(), ReplayOutcome::Unknown);
    }
}

#[tokio::test]
async fn oldest_object_with_rejected_lines_is_found_by_reason() {
    for base in both().await {
        let (base, _) = three_done(base).await;
        let oldest = async |reason| base.ledger.objects.oldest_rejected(reason).await.unwrap();
        assert_eq!(oldest(None).await, Some(id(2)));
        assert_eq!(oldest(Some(Reason::InvalidJson)).await, Some(id(2)));
        assert_eq!(oldest(Some(Reason::LineTooLong)).await, None);
    }
}

#[tokio::test]
async fn replayed_object_is_not_dismissed_any_more() {
    for base in both().await {
        let (base, _) = three_done(base).await;
        base.run("UPDATE objects SET state = 'failed', error = 'e', dismissed = TRUE WHERE id = 3")
            .await;
        let stored = stored(3, &[]);
        base.ledger.objects.replay(&replay(2, &stored)).await.unwrap();
        let object = base.object(3).await;
        assert_eq!(
            (object.state, object.dismissed, object.error),
            (State::Registered, false, None)
        );
    }
}

#[tokio::test]
async fn rewriting_replay_writes_rows_with_the_same_fingerprint() {
    for rewrite in [false, true] {
        for base in both().await {
            let (base, _) = three_done(base).await;
            let before = base.product(2).await.unwrap();
            base.run("UPDATE products SET title = 'not ours'").await;
            let stored = stored(3, &[]);
            let replay = Replay { rewrite, ..replay(2, &stored) };
            base.ledger.objects.replay(&replay).await.unwrap();
            let epoch = begin(&base.ledger, Mode::Shared, None, 2).await;
            for object in [2, 3] {
                // A row of the replayed line itself, and one of an object that is not replayed.
                let lines = [(object, "a"), (1, "a")];
                let mut chunk = if_changed(chunk(object, 0, &lines));
                chunk.range.incarnation = "again".to_owned();
                assert_eq!(base.counts(&epoch, chunk).await.unchanged, 2);
            }
            for object in 1..=3 {
                let title = base.product(object).await.unwrap().0;
                assert_eq!(title == "a", rewrite, "{object}");
            }
            assert_eq!(base.product(2).await.unwrap().1, before.1);
        }
    }
}

/// The rank of a line is the same in every read, but another declaration makes another row of it.
#[tokio::test]
async fn replay_by_another_declaration_writes_what_it_changes() {
    let narrow = "key = 'id'\ncolumns = { id = 'bigint' }";
    let wide = "key = 'id'\ncolumns = { id = 'bigint', a = { type = 'text', optional = true } }";
    let records = [r#"{"id":1,"a":"x"}"#, r#"{"id":2}"#];
    for rejects in [false, true] {
        for base in both().await {
            let first = declare(&base.database, "things", narrow).await;
            let (base, epoch) = base.with_objects(1).await;
            commit(&base, &epoch, &first, rows(&first, 1, &records)).await;
            let second = declare(&base.database, "things", wide).await;
            base.ledger.objects.replay(&replay(1, &stored(1, &[]))).await.unwrap();
            let epoch = begin(&base.ledger, Mode::Shared, None, 2).await;
            let mut chunk = rows(&second, 1, &records);
            chunk.range.incarnation = "again".to_owned();
            let counts = commit_either(&base, &epoch, &second, chunk, rejects).await;
            assert_eq!(counts, Counts { updated: 1, unchanged: 1, ..NO_COUNTS });
            let filled = base.number("SELECT COUNT(*) FROM things WHERE a = 'x'").await;
            assert_eq!(filled, Some(1));
        }
    }
}

/// Its rows of the first commit are in the table.
#[tokio::test]
async fn dead_chunk_that_was_committed_before_prevents_the_replay_of_a_missing_object() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(2, 0, &[(1, "a")])).await;
        begin(&base.ledger, Mode::Shared, Some(epoch.id), 2).await;
        base.dead_letter(2, 0, 1).await;
        assert_eq!(base.chunks().await[0].state, chunks::State::Dead);
        let outcome = base.ledger.objects.replay(&replay(1, &stored(2, &[2]))).await;
        assert!(matches!(outcome.unwrap(), ReplayOutcome::Missing(_)));
    }
}
