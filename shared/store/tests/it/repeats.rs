//! Redelivered, late and stale chunks.

use jetline_core::{Counts, Mode};
use jetline_store::CommitOutcome;

use crate::commits::rejected;
use crate::fixtures::{
    ALREADY_COMMITTED, NO_COUNTS, already_committed, begin, both, chunk, complete, damaged,
    epoch_id, id, range, read, unchanged, uncounted, unreadable,
};

#[tokio::test]
async fn redelivered_chunk_changes_nothing() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a"), (2, "b")])).await;
        base.counts(&epoch, chunk(2, 0, &[(1, "a2")])).await;
        let (before, product) = (base.chunks().await, base.product(1).await);
        // Its content does not matter.
        let chunk = chunk(1, 0, &[(1, "other"), (3, "new")]);
        assert_eq!(base.commit(&epoch, &[chunk]).await, already_committed());
        assert_eq!(base.chunks().await, before);
        assert_eq!(base.product(1).await, product);
        assert_eq!(base.product(3).await, None);
    }
}

#[tokio::test]
async fn chunk_of_an_ended_epoch_is_not_committed() {
    for base in both().await {
        let (base, first) = base.with_objects(1).await;
        let chunk = chunk(1, 0, &[(1, "a")]);
        begin(&base.ledger, Mode::Shared, Some(first.id), 2).await;
        let outcome = base.commit(&first, &[chunk]).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
        assert_eq!(base.product(1).await, None);
        assert_eq!(base.chunks().await, []);
    }
}

#[tokio::test]
async fn chunk_is_not_committed_before_any_epoch_or_on_another_server() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let chunk = chunk(1, 0, &[(1, "a")]);
        base.run("UPDATE epoch SET server_started_at = '2001-01-01'").await;
        assert!(!base.ledger.epochs.current().await.unwrap().unwrap().in_force);
        let outcome = base.commit(&epoch, std::slice::from_ref(&chunk)).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
        // A process that starts on another server begins a new epoch.
        let next = begin(&base.ledger, Mode::Shared, None, 2).await;
        assert_eq!(next.id, epoch_id(2));
        base.run("DELETE FROM epoch").await;
        let outcome = base.commit(&next, &[chunk]).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
    }
}

#[tokio::test]
async fn chunks_of_no_open_object_are_stale_and_nothing_is_committed() {
    for base in both().await {
        let (base, _) = base.with_objects(2).await;
        read(&base.ledger, &unreadable()).await;
        assert!(base.ledger.objects.fail(id(1), epoch_id(1)).await.unwrap());
        let epoch = base.epoch_in_force().await;
        let failed = chunk(1, 0, &[(1, "a")]);
        let unknown = chunk(9, 0, &[(2, "b")]);
        let mut restored = chunk(2, 0, &[(3, "c")]);
        restored.range.incarnation = "of another database".to_owned();
        let open = chunk(2, 1, &[(4, "d")]);
        let chunks = [failed.clone(), open.clone(), unknown.clone(), restored.clone()];
        let stale = vec![failed.range, unknown.range, restored.range];
        let outcome = base.commit(&epoch, &chunks).await;
        assert_eq!(outcome, CommitOutcome::Stale(stale));
        assert_eq!(base.chunks().await, []);
        assert_eq!(base.product(4).await, None);
        assert_eq!(base.counts(&epoch, open).await.inserted, 1);
    }
}

#[tokio::test]
async fn late_chunk_of_a_done_object_is_committed_already_even_after_folding() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        let [first, second] = [chunk(1, 0, &[(1, "a")]), chunk(2, 0, &[(1, "b")])];
        base.counts(&epoch, second.clone()).await;
        read(&base.ledger, &complete(1)).await;
        read(&base.ledger, &complete(1)).await;
        base.settle().await;
        // Done, but not folded: the first object is not done.
        assert_eq!(base.chunks().await.len(), 1);
        assert_eq!(base.commit(&epoch, std::slice::from_ref(&second)).await, already_committed());
        base.counts(&epoch, first.clone()).await;
        base.settle().await;
        assert_eq!(base.chunks().await, []);
        let both = base.commit(&epoch, &[first, second]).await;
        assert_eq!(both, CommitOutcome::Committed(vec![ALREADY_COMMITTED, ALREADY_COMMITTED]));
        assert_eq!(base.chunks().await, []);
        assert_eq!(base.product(1).await.unwrap().0, "b");
    }
}

#[tokio::test]
async fn late_chunk_of_an_object_that_is_damaged_after_it_is_committed_already() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let chunk = chunk(1, 0, &[(1, "a")]);
        base.counts(&epoch, chunk.clone()).await;
        read(&base.ledger, &damaged(1)).await;
        base.settle().await;
        assert_eq!(base.chunks().await, []);
        assert_eq!(base.commit(&epoch, &[chunk]).await, already_committed());
    }
}

#[tokio::test]
async fn chunk_that_is_committed_again_in_a_new_epoch_keeps_its_first_counts() {
    for base in both().await {
        let (base, first) = base.with_objects(1).await;
        let counts = base.counts(&first, chunk(1, 0, &[(1, "a"), (2, "b")])).await;
        assert_eq!(counts.inserted, 2);
        let next = begin(&base.ledger, Mode::Shared, Some(first.id), 2).await;
        assert_eq!(base.status(1).await.inserted, 2);
        assert_eq!(base.status(1).await.committed_bytes, 0);
        let expected = Counts { inserted: 2, ..NO_COUNTS };
        assert_eq!(base.counts(&next, unchanged(1, 0, 2)).await, expected);
        let status = base.status(1).await;
        assert_eq!((status.inserted, status.lines()), (2, 2));
        assert_eq!(status.committed_bytes, 20);
    }
}

/// A line was superseded by one that the database refused then, and another one is refused now.
#[tokio::test]
async fn chunk_that_is_committed_again_counts_what_it_writes_and_rejects_now() {
    for base in both().await {
        let (base, first) = base.with_objects(1).await;
        let mut chunk = chunk(1, 0, &[(1, "a")]);
        chunk.range = range(1, 0, 4);
        chunk.superseded = 2;
        chunk.rejected = vec![rejected(4, "no", b"d")];
        base.counts(&first, chunk.clone()).await;
        let next = begin(&base.ledger, Mode::Shared, Some(first.id), 2).await;
        let mut again = crate::fixtures::chunk(1, 0, &[(1, "a"), (2, "b")]);
        again.range = chunk.range;
        again.superseded = 1;
        again.rejected = vec![rejected(3, "no", b"c")];
        let expected = Counts { inserted: 2, superseded: 1, rejected: 1, ..NO_COUNTS };
        assert_eq!(base.counts(&next, again).await, expected);
        let line = base.number("SELECT line FROM rejected_lines").await;
        assert_eq!(line, Some(3));
    }
}

#[tokio::test]
async fn chunk_of_blank_lines_is_committed_like_any_other() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let blank = uncounted(1, 0, 3);
        assert_eq!(base.counts(&epoch, blank.clone()).await, NO_COUNTS);
        assert_eq!(base.commit(&epoch, &[blank]).await, already_committed());
        assert_eq!(base.chunks().await[0].line_count, 3);
        assert_eq!(range(1, 0, 3).end, 30);
    }
}
