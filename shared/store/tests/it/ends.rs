//! Ends of objects, and folding of their chunks.

use jetline_core::Mode;
use jetline_store::{
    entities::{chunks, objects::State},
    objects::EndedObject,
};

use crate::fixtures::{
    begin, both, chunk, complete, damaged, epoch_id, id, read, register, unchanged, unreadable,
    watermark,
};

fn done(object: i64) -> EndedObject {
    EndedObject { object: id(object), error: None }
}

fn failed(object: i64, error: &str) -> EndedObject {
    EndedObject { object: id(object), error: Some(error.to_owned()) }
}

#[tokio::test]
async fn object_is_done_when_its_chunks_cover_it() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a"), (2, "b")])).await;
        assert_eq!(base.settle().await, []);
        read(&base.ledger, &complete(3)).await;
        assert_eq!(base.settle().await, []);
        assert_eq!(base.ledger.objects.loading().await.unwrap()[0].committed_bytes, 20);
        base.counts(&epoch, chunk(1, 2, &[(3, "c")])).await;
        assert_eq!(base.settle().await, [done(1)]);
        let object = base.object(1).await;
        assert_eq!((object.state, object.error), (State::Done, None));
        assert!(object.done_at.is_some());
        assert_eq!(watermark(&base.ledger).await, 2);
        assert_eq!(base.settle().await, []);
        assert_eq!(base.epoch_in_force().await, epoch);
    }
}

#[tokio::test]
async fn object_whose_chunks_an_epoch_took_with_it_says_so_until_they_are_committed_again() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let first = chunk(1, 0, &[(1, "a"), (2, "b")]);
        base.counts(&epoch, first.clone()).await;
        read(&base.ledger, &complete(3)).await;
        let forgotten = async || base.ledger.objects.loading().await.unwrap()[0].forgotten;
        assert!(!forgotten().await);
        base.ledger.epochs.end(epoch.id, epoch_id(2)).await.unwrap();
        assert!(forgotten().await);
        assert_eq!(base.ledger.objects.loading().await.unwrap()[0].committed_bytes, 0);
        base.counts(&base.epoch_in_force().await, first).await;
        assert!(!forgotten().await);
    }
}

#[tokio::test]
async fn empty_object_is_done_as_soon_as_it_is_read() {
    for base in both().await {
        register(&base.ledger, 1).await;
        read(&base.ledger, &complete(0)).await;
        assert_eq!(base.settle().await, [done(1)]);
        assert_eq!(base.status(1).await.lines(), 0);
        assert_eq!(watermark(&base.ledger).await, 2);
    }
}

#[tokio::test]
async fn damaged_object_fails_and_keeps_what_was_read() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        read(&base.ledger, &damaged(1)).await;
        assert_eq!(base.settle().await, [failed(1, "gzip data is damaged")]);
        let status = base.status(1).await;
        assert_eq!((status.state, status.inserted), (State::Failed, 1));
        assert_eq!(status.committed_bytes, 10);
        assert!(base.product(1).await.is_some());
        // Every claim was committed: the epoch does not end.
        assert_eq!(base.epoch_in_force().await, epoch);
    }
}

#[tokio::test]
async fn object_whose_lines_do_not_add_up_fails() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let mut short = chunk(1, 0, &[(1, "a"), (2, "b")]);
        short.range.end = 30;
        base.counts(&epoch, short).await;
        read(&base.ledger, &complete(3)).await;
        let differ = "3 lines were read and 2 are accounted for";
        assert_eq!(base.settle().await, [failed(1, differ)]);
        let object = base.object(1).await;
        assert_eq!((object.state, object.inserted), (State::Failed, 2));
        assert_eq!(object.error.as_deref(), Some(differ));
    }
}

#[tokio::test]
async fn line_that_is_not_counted_fails_the_object() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let mut lost = chunk(1, 0, &[(1, "a"), (2, "b")]);
        (lost.range.end, lost.range.lines) = (30, 3);
        let mut blank = chunk(2, 0, &[(3, "c"), (4, "d")]);
        (blank.range.end, blank.range.lines, blank.blank) = (30, 3, 1);
        for chunk in [lost, blank] {
            base.counts(&epoch, chunk).await;
            read(&base.ledger, &complete(3)).await;
        }
        let differ = "3 lines were read and 2 are accounted for";
        assert_eq!(base.settle().await, [failed(1, differ), done(2)]);
    }
}

#[tokio::test]
async fn chunks_are_folded_into_their_object_below_the_watermark_only() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        for object in [2, 3] {
            let lines = [(object, "a"), (1, "z")];
            base.counts(&epoch, chunk(object, 0, &lines)).await;
            base.counts(&epoch, unchanged(object, 2, 2)).await;
        }
        read(&base.ledger, &complete(1)).await;
        read(&base.ledger, &complete(4)).await;
        assert_eq!(base.settle().await, [done(2)]);
        assert_eq!(base.chunks().await.len(), 4);
        assert_eq!(base.object(2).await.inserted, 0);
        assert_eq!(base.status(2).await.inserted, 2);
        assert_eq!(watermark(&base.ledger).await, 1);

        base.counts(&epoch, chunk(1, 0, &[(1, "y")])).await;
        assert_eq!(base.settle().await, [done(1)]);
        let left = base.chunks().await;
        assert!(left.iter().all(|chunk| chunk.object_id == 3) && left.len() == 2);
        let folded = base.object(2).await;
        assert_eq!((folded.inserted, folded.unchanged), (2, 2));
        assert_eq!(folded.folded_bytes, 40);
        let status = base.status(2).await;
        assert_eq!((status.lines(), status.committed_bytes), (4, 40));
        assert_eq!(base.object(1).await.superseded, 1);
        assert_eq!(base.status(3).await.lines(), 4);
    }
}

#[tokio::test]
async fn object_with_a_dead_chunk_fails_only_at_the_watermark_and_ends_the_epoch() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        base.counts(&epoch, chunk(2, 0, &[(1, "a")])).await;
        base.dead_letter(2, 1, 2).await;
        base.counts(&epoch, chunk(3, 0, &[(1, "b")])).await;
        let first = chunk(1, 0, &[(1, "z")]);
        read(&base.ledger, &complete(1)).await;
        read(&base.ledger, &complete(3)).await;
        assert_eq!(base.gaps(2, Some(30)).await, []);
        assert_eq!(base.settle().await, []);
        assert_eq!(base.object(2).await.state, State::Loading);
        assert_eq!(base.epoch_in_force().await, epoch);

        base.counts(&epoch, first).await;
        let dead_lettered = "1 chunks crashed their writer too often and were dead-lettered";
        assert_eq!(base.settle().await, [done(1), failed(2, dead_lettered)]);
        let next = base.epoch_in_force().await;
        assert_eq!((next.id, next.base), (epoch_id(9), id(3)));
        assert_eq!(base.status(2).await.committed_bytes, 10);
        // Objects after it are to be committed again.
        let left = base.chunks().await;
        assert_eq!((left.len(), left[0].object_id), (1, 3));
        assert_eq!(left[0].state, chunks::State::Forgotten);
    }
}

#[tokio::test]
async fn objects_with_dead_chunks_end_together_and_done_ones_after_them_are_reopened() {
    for base in both().await {
        let (base, epoch) = base.with_objects(4).await;
        for object in [1, 2] {
            base.counts(&epoch, chunk(object, 0, &[(object, "a")])).await;
            base.dead_letter(object, 1, 1).await;
        }
        base.counts(&epoch, chunk(4, 0, &[(4, "d")])).await;
        for lines in [2, 2, 7, 1] {
            read(&base.ledger, &complete(lines)).await;
        }
        let dead_lettered = "1 chunks crashed their writer too often and were dead-lettered";
        let ended = base.settle().await;
        assert_eq!(ended, [failed(1, dead_lettered), failed(2, dead_lettered)]);
        assert_eq!(base.epoch_in_force().await.base, id(3));
        assert_eq!(base.status(2).await.committed_bytes, 10);
        let reopened = base.object(4).await;
        assert_eq!((reopened.state, reopened.done_at), (State::Loading, None));
        assert_eq!(base.status(4).await.inserted, 1);
    }
}

#[tokio::test]
async fn unreadable_object_fails_only_at_the_watermark_and_ends_the_epoch() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        let fail = async |object| base.ledger.objects.fail(id(object), epoch_id(9)).await.unwrap();
        base.counts(&epoch, chunk(2, 0, &[(1, "a")])).await;
        read(&base.ledger, &complete(1)).await;
        read(&base.ledger, &unreadable()).await;
        assert!(!fail(2).await);
        // Everything below it is settled, but it can still be completed: it does not fail.
        assert!(!fail(1).await);
        assert_eq!(base.epoch_in_force().await, epoch);
        base.counts(&epoch, chunk(1, 0, &[(1, "z")])).await;
        assert_eq!(base.settle().await, [done(1)]);
        assert!(fail(2).await);
        assert!(!fail(2).await);
        assert!(!fail(3).await);
        let object = base.object(2).await;
        assert_eq!((object.state, object.inserted), (State::Failed, 1));
        assert_eq!(object.error.as_deref(), Some("it was deleted"));
        assert_eq!(base.chunks().await, []);
        assert_eq!(base.epoch_in_force().await.id, epoch_id(9));
    }
}

#[tokio::test]
async fn epoch_without_claims_does_not_end_with_a_failed_object() {
    for base in both().await {
        register(&base.ledger, 2).await;
        let epoch = begin(&base.ledger, Mode::Off, None, 1).await;
        base.dead_letter(1, 0, 1).await;
        read(&base.ledger, &complete(1)).await;
        base.counts(&epoch, chunk(2, 0, &[(1, "a")])).await;
        read(&base.ledger, &complete(1)).await;
        let ended = base.settle().await;
        assert_eq!(ended.len(), 2);
        assert_eq!(base.epoch_in_force().await, epoch);
        assert_eq!(base.object(2).await.state, State::Done);
        assert_eq!(watermark(&base.ledger).await, 3);
    }
}
