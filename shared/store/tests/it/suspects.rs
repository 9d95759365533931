//! Chunks that may be what crashes their writers.

use jetline_store::{chunks::SuspectAction, entities::chunks::State};

use crate::fixtures::{
    NO_COUNTS, already_committed, both, chunk, complete, range, read, uncounted,
};

#[tokio::test]
async fn suspicious_chunk_is_tried_so_often_and_then_dead() {
    for base in both().await {
        let (base, _) = base.with_objects(1).await;
        let chunk = range(1, 0, 3);
        for attempt in 1..=3 {
            let suspicion = base.ledger.chunks.suspect(&chunk, 3).await.unwrap();
            assert_eq!(suspicion, SuspectAction::Retry);
            let noted = &base.chunks().await[0];
            assert_eq!((noted.state, noted.attempts), (State::Suspect, attempt));
            assert_eq!((noted.end_offset, noted.line_count), (30, 3));
        }
        for _ in 0..2 {
            let suspicion = base.ledger.chunks.suspect(&chunk, 3).await.unwrap();
            assert_eq!(suspicion, SuspectAction::DeadLetter);
            assert_eq!(base.chunks().await[0].state, State::Dead);
        }
        let suspicion = base.ledger.chunks.suspect(&chunk, 9).await.unwrap();
        assert_eq!(suspicion, SuspectAction::DeadLetter);
    }
}

#[tokio::test]
async fn suspicious_chunk_that_is_committed_is_like_any_other() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        base.ledger.chunks.suspect(&range(1, 0, 1), 1).await.unwrap();
        let counts = base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        assert_eq!((counts.inserted, counts.lines()), (1, 1));
        // It is redelivered several times, and stays committed.
        for _ in 0..3 {
            let suspicion = base.ledger.chunks.suspect(&range(1, 0, 1), 1).await.unwrap();
            assert_eq!(suspicion, SuspectAction::Retry);
            assert_eq!(base.chunks().await[0].state, State::Committed);
        }
        assert_eq!(base.commit(&epoch, &[chunk(1, 0, &[(1, "a")])]).await, already_committed());
    }
}

#[tokio::test]
async fn chunk_that_was_given_up_and_is_committed_after_all_is_not_dead() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        base.dead_letter(1, 0, 1).await;
        assert_eq!(base.chunks().await[0].state, State::Dead);
        assert_eq!(base.counts(&epoch, uncounted(1, 0, 1)).await, NO_COUNTS);
        assert_eq!(base.chunks().await[0].state, State::Committed);
    }
}

#[tokio::test]
async fn chunk_of_an_object_that_ended_or_is_another_one_leaves_no_suspicion() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        read(&base.ledger, &complete(1)).await;
        base.settle().await;
        let mut restored = range(2, 0, 1);
        restored.incarnation = "of another database".to_owned();
        for chunk in [range(1, 0, 1), restored, range(7, 0, 1)] {
            let suspicion = base.ledger.chunks.suspect(&chunk, 0).await.unwrap();
            assert_eq!(suspicion, SuspectAction::Retry);
        }
        assert_eq!(base.chunks().await, []);
    }
}
