//! Leases and gaps.

use jetline_store::{
    entities::objects::{Model, State},
    objects::{Gap, LeaseLimits},
};

use crate::fixtures::{
    LEASE_TERM, ONE_OBJECT, ROOT, TestDatabase, both, chunk, complete, damaged, id, range, read,
    register, unreadable,
};

async fn lease(base: &TestDatabase, owner: &str) -> Option<Model> {
    let roots = [ROOT.to_owned(), "file:///other".to_owned()];
    let leased = base.ledger.objects.lease(owner, &roots, LEASE_TERM, ONE_OBJECT).await;
    let leased = leased.unwrap().pop()?;
    Some(base.object(leased.id.get()).await)
}

async fn leased(base: &TestDatabase, owner: &str) -> Option<i64> {
    lease(base, owner).await.map(|object| object.id)
}

#[tokio::test]
async fn oldest_free_object_is_leased_first() {
    for base in both().await {
        register(&base.ledger, 2).await;
        let first = lease(&base, "a").await.unwrap();
        assert_eq!((first.id, first.readings), (1, 1));
        assert_eq!((first.state, first.key.as_str()), (State::Reading, "1"));
        assert_eq!(first.lease_owner.as_deref(), Some("a"));
        assert_eq!(leased(&base, "b").await, Some(2));
        assert_eq!(leased(&base, "c").await, None);
    }
}

async fn leased_together(base: &TestDatabase, owner: &str, objects: usize, bytes: u64) -> Vec<i64> {
    let batch = LeaseLimits { objects, bytes };
    let roots = [ROOT.to_owned()];
    let leased = base.ledger.objects.lease(owner, &roots, LEASE_TERM, batch).await;
    leased.unwrap().iter().map(|object| object.id.get()).collect()
}

#[tokio::test]
async fn objects_are_leased_together_up_to_the_limits_of_objects_and_bytes() {
    for base in both().await {
        register(&base.ledger, 9).await;
        base.run("UPDATE objects SET size = 10").await;
        base.run("UPDATE objects SET size = 100 WHERE id IN (4, 8)").await;
        assert_eq!(leased_together(&base, "a", 2, 1000).await, [1, 2]);
        // The fourth would exceed the limit of bytes.
        assert_eq!(leased_together(&base, "b", 5, 109).await, [3]);
        // A single object may exceed it.
        assert_eq!(leased_together(&base, "c", 5, 50).await, [4]);
        assert_eq!(leased_together(&base, "d", 2, 120).await, [5, 6]);
        assert_eq!(leased_together(&base, "e", 5, 110).await, [7, 8]);
        assert_eq!(leased_together(&base, "f", 5, 110).await, [9]);
        assert!(leased_together(&base, "g", 5, 110).await.is_empty());
        // Objects that the owner has leased are leased again.
        assert_eq!(leased_together(&base, "a", 5, 110).await, [1, 2]);
    }
}

#[tokio::test]
async fn leases_of_several_objects_are_renewed_finished_and_released_one_by_one() {
    for base in both().await {
        register(&base.ledger, 4).await;
        assert_eq!(leased_together(&base, "a", 4, 4000).await, [1, 2, 3, 4]);
        base.run("UPDATE objects SET lease_owner = 'b' WHERE id = 2").await;
        let all = [1, 2, 3, 4].map(id);
        let kept = base.ledger.objects.renew(&all, "a", LEASE_TERM).await.unwrap();
        assert_eq!(kept.len(), 3);
        assert!(!kept.contains(&id(2)));
        let readings = [(id(1), complete(7)), (id(2), complete(8)), (id(3), unreadable())];
        let finished = base.ledger.objects.record_outcomes(&readings, "a").await;
        assert_eq!(finished.unwrap(), 2);
        base.ledger.objects.release(&all, "a").await.unwrap();
        let mut states = Vec::new();
        for id in 1..=4 {
            states.push(base.object(id).await.state);
        }
        let expected = [State::Loading, State::Reading, State::Loading, State::Registered];
        assert_eq!(states, expected);
        let whole = base.object(1).await;
        assert_eq!((whole.total_bytes, whole.total_lines), (Some(70), Some(7)));
        assert_eq!((whole.error, whole.unreadable), (None, false));
        let gone = base.object(3).await;
        assert_eq!((gone.total_bytes, gone.unreadable), (None, true));
        assert!(gone.error.is_some());
        assert_eq!(base.object(2).await.total_bytes, None);
    }
}

#[tokio::test]
async fn open_objects_are_counted_by_root() {
    for base in both().await {
        register(&base.ledger, 3).await;
        let own = [ROOT.to_owned()];
        let other = ["s3://other".to_owned()];
        assert_eq!(base.ledger.objects.count_open(&own).await.unwrap(), 3);
        assert!(!base.ledger.objects.all_settled(&own).await.unwrap());
        for roots in [&other[..], &[]] {
            assert_eq!(base.ledger.objects.count_open(roots).await.unwrap(), 0);
            assert!(base.ledger.objects.all_settled(roots).await.unwrap());
            let since = base.ledger.objects.registered_since(id(1), roots).await;
            assert_eq!(since.unwrap(), []);
        }
        base.run("UPDATE objects SET state = 'done' WHERE id < 3").await;
        assert_eq!(base.ledger.objects.count_open(&own).await.unwrap(), 1);
        base.run("UPDATE objects SET state = 'failed' WHERE id = 3").await;
        assert!(base.ledger.objects.all_settled(&own).await.unwrap());
        let since = base.ledger.objects.registered_since(id(2), &own).await;
        assert_eq!(since.unwrap(), [id(2), id(3)]);
        assert_eq!(base.ledger.objects.next().await.unwrap(), id(4));
    }
}

#[tokio::test]
async fn only_objects_of_the_own_roots_are_leased() {
    for base in both().await {
        register(&base.ledger, 1).await;
        let other = ["s3://other".to_owned()];
        for roots in [&other[..], &[]] {
            let leased = base.ledger.objects.lease("a", roots, LEASE_TERM, ONE_OBJECT).await;
            assert_eq!(leased.unwrap(), []);
        }
        let own = [ROOT.to_owned()];
        for (number, roots, open) in
            [(2, &other[..], &[][..]), (2, &[], &[]), (1, &own, &[]), (2, &own, &[id(1)])]
        {
            let found = base.ledger.objects.open_before(id(number), roots).await;
            assert_eq!(found.unwrap(), open, "{number} {roots:?}");
        }
    }
}

#[tokio::test]
async fn expired_lease_is_taken_over_and_its_owner_notices() {
    for base in both().await {
        register(&base.ledger, 2).await;
        assert_eq!(leased(&base, "a").await, Some(1));
        base.run("UPDATE objects SET lease_until = lease_until - 61000 WHERE id = 1").await;
        let taken_over = lease(&base, "b").await.unwrap();
        assert_eq!((taken_over.id, taken_over.readings), (1, 2));
        let kept = base.ledger.objects.renew(&[id(1)], "a", LEASE_TERM).await;
        assert_eq!(kept.unwrap(), []);
        let finished = base.ledger.objects.record_outcomes(&[(id(1), complete(1))], "a").await;
        assert_eq!(finished.unwrap(), 0);
        base.ledger.objects.release(&[id(1)], "a").await.unwrap();
        assert_eq!(base.object(1).await.lease_owner.as_deref(), Some("b"));
        let kept = base.ledger.objects.renew(&[id(1)], "b", LEASE_TERM).await;
        assert_eq!(kept.unwrap(), [id(1)]);
    }
}

#[tokio::test]
async fn renewed_lease_does_not_expire() {
    for base in both().await {
        register(&base.ledger, 1).await;
        let until = lease(&base, "a").await.unwrap().lease_until;
        let longer = LEASE_TERM * 2;
        let kept = base.ledger.objects.renew(&[id(1)], "a", longer).await;
        assert_eq!(kept.unwrap(), [id(1)]);
        assert!(base.object(1).await.lease_until.unwrap() >= until.unwrap() + 60_000);
        assert_eq!(leased(&base, "b").await, None);
    }
}

#[tokio::test]
async fn interrupted_reader_leases_the_same_object_again() {
    for base in both().await {
        register(&base.ledger, 2).await;
        assert_eq!(leased(&base, "a").await, Some(1));
        assert_eq!(leased(&base, "b").await, Some(2));
        assert_eq!(leased(&base, "a").await, Some(1));
        assert_eq!(base.object(1).await.readings, 2);
    }
}

#[tokio::test]
async fn released_object_is_free_at_once() {
    for base in both().await {
        register(&base.ledger, 1).await;
        assert_eq!(leased(&base, "a").await, Some(1));
        base.ledger.objects.release(&[id(1)], "a").await.unwrap();
        assert_eq!(leased(&base, "b").await, Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_fetchers_lease_the_same_object() {
    for base in both().await {
        register(&base.ledger, 60).await;
        let fetchers = (0..6).map(|number| {
            let ledger = base.ledger.clone();
            tokio::spawn(async move {
                let (owner, roots) = (format!("f{number}"), [ROOT.to_owned()]);
                let mut held = Vec::new();
                let lease = || ledger.objects.lease(&owner, &roots, LEASE_TERM, ONE_OBJECT);
                while let Some(object) = lease().await.unwrap().pop() {
                    let reading = [(object.id, complete(1))];
                    assert_eq!(ledger.objects.record_outcomes(&reading, &owner).await.unwrap(), 1);
                    held.push(object.id);
                }
                held
            })
        });
        let mut all = Vec::new();
        for fetcher in fetchers.collect::<Vec<_>>() {
            all.extend(fetcher.await.unwrap());
        }
        all.sort_unstable();
        assert!(all.into_iter().eq((1..=60).map(id)));
    }
}

#[tokio::test]
async fn finished_read_records_its_outcome() {
    for base in both().await {
        register(&base.ledger, 3).await;
        read(&base.ledger, &complete(7)).await;
        read(&base.ledger, &damaged(5)).await;
        read(&base.ledger, &unreadable()).await;
        let [whole, damaged, gone] = [1, 2, 3].map(|id| base.object(id));
        let whole = whole.await;
        assert_eq!((whole.total_bytes, whole.total_lines), (Some(70), Some(7)));
        assert_eq!((whole.state, whole.error), (State::Loading, None));
        assert_eq!((whole.lease_owner, whole.lease_until), (None, None));
        let damaged = damaged.await;
        assert_eq!(damaged.error.as_deref(), Some("gzip data is damaged"));
        assert_eq!((damaged.total_bytes, damaged.unreadable), (Some(50), false));
        let gone = gone.await;
        assert_eq!((gone.total_bytes, gone.unreadable), (None, true));
        let loading = base.ledger.objects.loading().await.unwrap();
        let loading = loading.iter().map(|one| (one.object, one.unreadable));
        let expected = [(id(1), false), (id(2), false), (id(3), true)];
        assert_eq!(loading.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn gaps_are_ranges_without_a_committed_chunk() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(1, 1, &[(1, "a"), (2, "b")])).await;
        base.counts(&epoch, chunk(1, 4, &[(3, "c")])).await;
        base.counts(&epoch, chunk(2, 0, &[(4, "d")])).await;
        // A suspected chunk is not committed.
        let suspected = range(1, 3, 1);
        base.ledger.chunks.suspect(&suspected, 5).await.unwrap();
        let gap = |start, end, first_line| Gap { start, end, first_line };
        let expected = [gap(0, Some(10), 1), gap(30, Some(40), 4), gap(50, None, 6)];
        assert_eq!(base.gaps(1, None).await, expected);
        let gaps = base.gaps(1, Some(50)).await;
        assert_eq!(gaps, expected[..2]);
        let together = [(id(2), None), (id(1), Some(50)), (id(1), Some(40))];
        let together = base.ledger.objects.gaps(&together).await.unwrap();
        assert_eq!(*together[0].as_ref().unwrap(), [gap(10, None, 2)]);
        assert_eq!(*together[1].as_ref().unwrap(), expected[..2]);
        assert!(together[2].is_err());
        let loading = base.ledger.objects.loading().await.unwrap();
        assert_eq!(loading, []);
    }
}

#[tokio::test]
async fn object_that_is_read_again_keeps_its_first_totals_and_error() {
    for base in both().await {
        register(&base.ledger, 1).await;
        assert_eq!(base.ledger.objects.reread(&[id(1)]).await.unwrap(), []);
        read(&base.ledger, &damaged(5)).await;
        assert_eq!(base.ledger.objects.reread(&[id(1)]).await.unwrap(), [id(1)]);
        assert_eq!(base.ledger.objects.reread(&[id(1)]).await.unwrap(), []);
        assert_eq!(base.object(1).await.state, State::Registered);
        read(&base.ledger, &complete(7)).await;
        let object = base.object(1).await;
        assert_eq!((object.total_bytes, object.readings), (Some(50), 2));
        assert_eq!(object.error.as_deref(), Some("gzip data is damaged"));
    }
}

#[tokio::test]
async fn position_of_the_owner_is_recorded_and_says_how_large_the_object_is() {
    for base in both().await {
        register(&base.ledger, 1).await;
        assert_eq!(leased(&base, "a").await, Some(1));
        base.run("UPDATE objects SET key = 'a.jsonl.gz'").await;
        assert_eq!(base.status(1).await.estimated_bytes(), None);
        base.ledger.objects.record_read(id(1), "b", 700, 70).await.unwrap();
        assert_eq!(base.status(1).await.read_bytes, 0);
        base.ledger.objects.record_read(id(1), "a", 3_000, 250).await.unwrap();
        let status = base.status(1).await;
        // A quarter of the stored bytes.
        assert_eq!((status.read_bytes, status.estimated_bytes()), (3_000, Some(12_000)));
        base.run("UPDATE objects SET key = 'a.jsonl'").await;
        assert_eq!(base.status(1).await.estimated_bytes(), Some(1_000));

        base.ledger.objects.record_outcomes(&[(id(1), complete(50))], "a").await.unwrap();
        let status = base.status(1).await;
        assert_eq!((status.read_bytes, status.estimated_bytes()), (500, Some(500)));
    }
}
