//! Dismissal of failed objects, and of open ones that were refused.

use jetline_core::Mode;
use jetline_store::{
    CommitOutcome,
    entities::objects::State,
    objects::{Dismissal, NewObject},
};

use crate::fixtures::{
    TestDatabase, begin, both, chunk, complete, damaged, epoch_id, id, lease, listed, read,
    register, watermark,
};

async fn dismiss(base: &TestDatabase, object: i64) -> Dismissal {
    let dismissed = base.ledger.objects.dismiss(id(object), epoch_id(9)).await;
    dismissed.unwrap()
}

/// Records a refusal for a free object.
async fn refuse(base: &TestDatabase, object: i64) {
    let sql = format!("UPDATE objects SET refusal = 'access denied' WHERE id = {object}");
    base.run(&sql).await;
}

async fn failed(base: &TestDatabase, listed: &[NewObject]) -> Vec<i64> {
    let failed = base.ledger.objects.split_known(listed.to_vec()).await.unwrap().failed;
    failed.into_iter().map(jetline_core::ObjectId::get).collect()
}

#[tokio::test]
async fn failed_objects_are_those_that_are_listed_and_not_dismissed() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        for object in 1..=3 {
            base.counts(&epoch, chunk(object, 0, &[(object, "a")])).await;
            let reading = if object == 3 { complete(1) } else { damaged(1) };
            read(&base.ledger, &reading).await;
        }
        let all: Vec<_> = (1..=3).map(|n| listed(&n.to_string(), n)).collect();
        assert!(failed(&base, &all).await.is_empty());
        base.settle().await;
        assert_eq!(failed(&base, &all).await, [1, 2]);
        // An overwritten object is another version.
        let mut overwritten = all.clone();
        overwritten[0].version.etag = "f".to_owned();
        assert_eq!(failed(&base, &overwritten).await, [2]);

        assert_eq!(dismiss(&base, 2).await, Dismissal::Dismissed);
        assert_eq!(failed(&base, &all).await, [1]);
        assert_eq!(dismiss(&base, 2).await, Dismissal::Dismissed);
        let status = base.status(2).await;
        assert_eq!((status.state, status.dismissed), (State::Failed, true));
        assert!(!base.status(1).await.dismissed);
        assert_eq!(dismiss(&base, 3).await, Dismissal::Done);
        assert_eq!(dismiss(&base, 4).await, Dismissal::Unknown);
        // It had ended: there are no open claims of it.
        assert_eq!(base.epoch_in_force().await, epoch);
    }
}

#[tokio::test]
async fn dismissed_refused_object_fails_and_ends_the_epoch_and_the_watermark_passes_it() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        assert_eq!(dismiss(&base, 1).await, Dismissal::Open);
        base.counts(&epoch, chunk(1, 0, &[(1, "kept")])).await;
        base.counts(&epoch, chunk(3, 0, &[(3, "a")])).await;
        refuse(&base, 1).await;
        assert_eq!(dismiss(&base, 1).await, Dismissal::Dismissed);
        let status = base.status(1).await;
        assert_eq!((status.state, status.dismissed, status.inserted), (State::Failed, true, 1));
        assert_eq!(status.error.as_deref(), Some("access denied"));
        assert_eq!(watermark(&base.ledger).await, 2);

        // A chunk of it that is still in the queue may have been claimed: it is discarded, and later objects are
        // claimed again.
        let late = chunk(1, 1, &[(3, "late")]);
        let range = late.range.clone();
        let outcome = base.commit(&epoch, std::slice::from_ref(&late)).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
        let next = begin(&base.ledger, Mode::Shared, Some(epoch_id(9)), 2).await;
        assert_eq!(next.base, id(2));
        assert_eq!(base.commit(&next, &[late]).await, CommitOutcome::Stale(vec![range]));
        assert_eq!(base.counts(&next, chunk(3, 0, &[(3, "a")])).await.inserted, 1);
    }
}

#[tokio::test]
async fn dismissed_refused_object_waits_for_everything_below_it_and_its_reader_loses_the_lease() {
    for base in both().await {
        register(&base.ledger, 2).await;
        let epoch = begin(&base.ledger, Mode::Shared, None, 1).await;
        lease(&base.ledger, "other").await.unwrap();
        lease(&base.ledger, "me").await.unwrap();
        refuse(&base, 2).await;
        assert_eq!(dismiss(&base, 2).await, Dismissal::Ending);
        assert_eq!(base.epoch_in_force().await, epoch);
        let finished = base.ledger.objects.record_outcomes(&[(id(2), complete(3))], "me").await;
        assert_eq!(finished.unwrap(), 0);
        assert!(!base.ledger.objects.fail(id(2), epoch_id(9)).await.unwrap());

        base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        let finished = base.ledger.objects.record_outcomes(&[(id(1), complete(1))], "other").await;
        assert_eq!(finished.unwrap(), 1);
        base.ledger.objects.settle(epoch_id(8), None).await.unwrap();
        assert!(base.ledger.objects.loading().await.unwrap()[0].unreadable);
        assert!(base.ledger.objects.fail(id(2), epoch_id(9)).await.unwrap());
        let object = base.object(2).await;
        assert_eq!((object.state, object.dismissed), (State::Failed, true));
        assert_eq!(watermark(&base.ledger).await, 3);
    }
}
