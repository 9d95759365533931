//! Objects over the reject limit fail early.

use jetline_core::Mode;
use jetline_datasets::Reason;
use jetline_store::{
    ChunkRows, CommitOutcome,
    entities::objects::State,
    objects::{EndedObject, RejectLimit},
};

use crate::fixtures::{
    self, LEASE_TERM, TestDatabase, begin, both, chunk, complete, epoch_id, id, lease, range, read,
    watermark,
};

const REASON: &str = "more than 2 lines were rejected (MAX_REJECTS); first: line 1, byte 0: missing_field: no id; \
                      fix the cause, then replay it";

/// A chunk of three lines that are all rejected.
fn rejected(object: i64, lines_before: u32) -> ChunkRows {
    fixtures::rejected(object, lines_before, 3, Reason::MissingField, "no id")
}

async fn settle(base: &TestDatabase, limit: u64) -> Vec<EndedObject> {
    let ended = base.ledger.objects.settle(epoch_id(9), Some(RejectLimit::Lines(limit))).await;
    ended.unwrap()
}

fn failed(object: i64) -> EndedObject {
    EndedObject { object: id(object), error: Some(REASON.to_owned()) }
}

#[tokio::test]
async fn object_over_the_limit_fails_while_it_is_read_and_ends_the_epoch() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        lease(&base.ledger, "me").await.unwrap();
        base.counts(&epoch, rejected(1, 0)).await;
        base.counts(&epoch, chunk(1, 5, &[(5, "kept")])).await;
        assert_eq!(settle(&base, 3).await, []);
        assert_eq!(settle(&base, 2).await, [failed(1)]);
        let kept = base.ledger.objects.renew(&[id(1)], "me", LEASE_TERM).await;
        assert_eq!(kept.unwrap(), []);
        let finished = base.ledger.objects.record_outcomes(&[(id(1), complete(9))], "me").await;
        assert_eq!(finished.unwrap(), 0);
        let status = base.status(1).await;
        assert_eq!((status.state, status.error.as_deref()), (State::Failed, Some(REASON)));
        assert_eq!((status.rejected, status.lines()), (3, 4));
        assert!(base.product(5).await.is_some());
        assert_eq!(watermark(&base.ledger).await, 2);

        // Chunks that are still in the queue are discarded.
        let late = chunk(1, 6, &[(6, "late")]);
        assert_eq!(
            base.commit(&epoch, std::slice::from_ref(&late)).await,
            CommitOutcome::EpochEnded
        );
        let next = begin(&base.ledger, Mode::Shared, Some(epoch_id(9)), 2).await;
        let range = late.range.clone();
        assert_eq!(base.commit(&next, &[late]).await, CommitOutcome::Stale(vec![range]));
        assert_eq!(settle(&base, 2).await, []);
    }
}

#[tokio::test]
async fn object_over_the_limit_ends_only_when_everything_below_it_has() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, rejected(2, 0)).await;
        assert_eq!(settle(&base, 2).await, []);
        read(&base.ledger, &complete(0)).await;
        let done = EndedObject { object: id(1), error: None };
        assert_eq!(settle(&base, 2).await, [done, failed(2)]);
    }
}

#[tokio::test]
async fn complete_object_over_the_limit_fails_at_once() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        lease(&base.ledger, "other").await.unwrap();
        base.counts(&epoch, rejected(2, 0)).await;
        read(&base.ledger, &complete(3)).await;
        assert_eq!(settle(&base, 2).await, [failed(2)]);
        // Every claim of it was committed: the epoch does not end.
        assert_eq!(base.epoch_in_force().await, epoch);
        assert_eq!(base.object(2).await.error.as_deref(), Some(REASON));
    }
}

#[tokio::test]
async fn share_of_rejected_lines_is_judged_when_the_object_is_complete() {
    for (share, is_over) in [(600_000, false), (599_999, true)] {
        for base in both().await {
            let (base, epoch) = base.with_objects(1).await;
            let limit = Some(RejectLimit::Millionths(share));
            base.counts(&epoch, rejected(1, 0)).await;
            assert_eq!(base.ledger.objects.settle(epoch_id(9), limit).await.unwrap(), []);
            base.counts(&epoch, chunk(1, 3, &[(5, "kept"), (6, "kept")])).await;
            read(&base.ledger, &complete(5)).await;
            let ended = base.ledger.objects.settle(epoch_id(9), limit).await.unwrap();
            let error = ended[0].error.as_deref().unwrap_or_default();
            assert_eq!(!error.is_empty(), is_over, "{error}");
            assert!(!is_over || error.starts_with("more than 59.9999% of the lines were rejected"));
        }
    }
}

#[tokio::test]
async fn object_with_forgotten_chunks_does_not_fail() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        base.counts(&epoch, rejected(1, 0)).await;
        base.counts(&epoch, chunk(1, 3, &[(5, "kept")])).await;
        let next = begin(&base.ledger, Mode::Shared, Some(epoch.id), 2).await;
        base.counts(&next, rejected(1, 0)).await;
        assert_eq!(settle(&base, 2).await, []);
        // A chunk that is tried alone is still to be committed again.
        base.ledger.chunks.suspect(&range(1, 3, 1), 5).await.unwrap();
        assert_eq!(settle(&base, 2).await, []);
        base.counts(&next, chunk(1, 3, &[(5, "kept")])).await;
        assert_eq!(settle(&base, 2).await, [failed(1)]);
    }
}
