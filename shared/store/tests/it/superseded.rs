//! Objects wait for the lines that superseded theirs.

use jetline_core::ObjectId;
use jetline_store::{ChunkRows, SupersededBy, entities::objects::State};

use crate::fixtures::{
    ROOT, TestDatabase, both, chunk, complete, epoch_id, id, lease, read, uncounted, unreadable,
    watermark,
};

async fn settle(base: &TestDatabase) -> Vec<ObjectId> {
    base.settle().await.into_iter().map(|one| one.object).collect()
}

/// A chunk with one line that lines of object 2 superseded.
fn superseded(object: i64, first_line: u32, last_line: u32) -> ChunkRows {
    let superseded_by = vec![SupersededBy { object: id(2), first_line, last_line }];
    ChunkRows { superseded: 1, superseded_by, ..uncounted(object, 0, 1) }
}

#[tokio::test]
async fn object_ends_when_the_lines_that_superseded_its_own_are_committed() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, superseded(1, 2, 3)).await;
        read(&base.ledger, &complete(1)).await;
        assert_eq!(settle(&base).await, []);
        base.counts(&epoch, chunk(2, 0, &[(1, "a"), (2, "b")])).await;
        assert_eq!(settle(&base).await, []);
        assert_eq!(watermark(&base.ledger).await, 1);
        base.counts(&epoch, chunk(2, 2, &[(3, "c")])).await;
        assert_eq!(settle(&base).await, [id(1)]);
        assert_eq!(watermark(&base.ledger).await, 2);
        assert_eq!(base.epoch_in_force().await.id, epoch.id);
    }
}

#[tokio::test]
async fn dead_superseding_chunk_ends_the_epoch() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, superseded(1, 1, 1)).await;
        read(&base.ledger, &complete(1)).await;
        base.dead_letter(2, 0, 1).await;
        assert_eq!(settle(&base).await, []);
        assert_eq!(base.epoch_in_force().await.id, epoch_id(9));
        // The line is claimed again, and nothing supersedes it.
        let next = base.epoch_in_force().await;
        assert_eq!(next.base, id(1));
        base.counts(&next, chunk(1, 0, &[(1, "a")])).await;
        assert_eq!(settle(&base).await, [id(1)]);
    }
}

#[tokio::test]
async fn unreadable_superseding_object_ends_the_epoch() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, superseded(1, 7, 7)).await;
        read(&base.ledger, &complete(1)).await;
        read(&base.ledger, &unreadable()).await;
        assert_eq!(settle(&base).await, []);
        assert_eq!(base.epoch_in_force().await.id, epoch_id(9));
        assert_ne!(epoch.id, epoch_id(9));
        // Nor does it end before the one below it: the new epoch's base would be above what has to be claimed again.
        assert!(!base.ledger.objects.fail(id(2), epoch_id(10)).await.unwrap());
        assert_eq!(base.object(2).await.state, State::Loading);
    }
}

/// A range of lines may include some that superseded none.
#[tokio::test]
async fn chunk_that_was_dead_before_the_epoch_began_does_not_end_it() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.dead_letter(2, 1, 1).await;
        base.ledger.epochs.end(epoch.id, epoch_id(2)).await.unwrap();
        let next = base.epoch_in_force().await;
        base.counts(&next, chunk(2, 0, &[(1, "a")])).await;
        base.counts(&next, chunk(2, 2, &[(2, "b")])).await;
        base.counts(&next, superseded(1, 1, 3)).await;
        read(&base.ledger, &complete(1)).await;
        assert_eq!(settle(&base).await, [id(1)]);
        assert_eq!(base.epoch_in_force().await.id, next.id);
    }
}

#[tokio::test]
async fn lines_that_a_dead_chunk_of_their_own_object_superseded_are_claimed_again() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let mut first = superseded(1, 2, 2);
        first.superseded_by[0].object = id(1);
        base.counts(&epoch, first).await;
        base.dead_letter(1, 1, 1).await;
        read(&base.ledger, &complete(2)).await;
        assert_eq!(settle(&base).await, []);
        let next = base.epoch_in_force().await;
        assert_ne!(next.id, epoch.id);
        assert_eq!(next.base, id(1));
        base.counts(&next, chunk(1, 0, &[(1, "a")])).await;
        assert_eq!(settle(&base).await, [id(1)]);
        assert_eq!(base.object(1).await.state, State::Failed);
    }
}

#[tokio::test]
async fn refused_object_that_is_read_now_does_not_end_the_epoch() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, superseded(1, 1, 1)).await;
        read(&base.ledger, &complete(1)).await;
        base.run("UPDATE objects SET refusal = 'expired', refusals = 1 WHERE id = 2").await;
        assert!(lease(&base.ledger, "me").await.is_some());
        assert_eq!(settle(&base).await, []);
        assert_eq!(base.epoch_in_force().await.id, epoch.id);
    }
}

#[tokio::test]
async fn unread_objects_that_others_wait_for_are_listed() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, superseded(1, 1, 1)).await;
        read(&base.ledger, &complete(1)).await;
        let unread = async |root: &str| {
            let roots = [root.to_owned()];
            let unread = base.ledger.objects.unread_blockers(&[id(1)], &roots).await;
            unread.unwrap()
        };
        assert_eq!(unread("another").await, [id(2)]);
        assert_eq!(unread(ROOT).await, []);
        assert!(lease(&base.ledger, "me").await.is_some());
        assert_eq!(unread("another").await, []);
        base.ledger.objects.end_epoch(epoch_id(3)).await.unwrap();
        assert_eq!(base.epoch_in_force().await.id, epoch_id(3));
    }
}

/// An object that fails ends as well.
#[tokio::test]
async fn unreadable_object_waits_for_lines_that_superseded_its_own() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, superseded(1, 1, 1)).await;
        read(&base.ledger, &unreadable()).await;
        assert!(!base.ledger.objects.fail(id(1), epoch_id(9)).await.unwrap());
        base.counts(&epoch, chunk(2, 0, &[(1, "a")])).await;
        assert!(base.ledger.objects.fail(id(1), epoch_id(9)).await.unwrap());
    }
}

#[tokio::test]
async fn refusal_ends_the_epoch_once_and_the_dataset_is_claimed_again_after_a_replay() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        assert!(epoch.claims("products"));
        assert!(base.ledger.epochs.write_through("products", epoch_id(2)).await.unwrap());
        let next = base.epoch_in_force().await;
        assert_eq!((next.id, next.claims("products")), (epoch_id(2), false));
        assert!(next.claims("notes"));
        assert!(!base.ledger.epochs.write_through("products", epoch_id(3)).await.unwrap());
        assert_eq!(base.epoch_in_force().await.id, epoch_id(2));
        // A loss of the dedup store changes nothing about it.
        base.ledger.epochs.end(epoch_id(2), epoch_id(4)).await.unwrap();
        let next = base.epoch_in_force().await;
        assert_eq!((next.id, next.claims("products")), (epoch_id(4), false));
    }
}
