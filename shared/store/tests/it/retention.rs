//! What is kept for a limited time.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use jetline_datasets::Reason;
use jetline_store::objects::{ReplayOutcome, STORED_REJECTS};

use crate::{
    fixtures::{ROOT, TestDatabase, both, chunk, complete, id, listed, read, register, rejected},
    replay::replay,
};

const CHUNK_LINES: u32 = 45_000;

async fn stored(base: &TestDatabase, object: i64) -> i64 {
    let of = format!("SELECT COUNT(*) FROM rejected_lines WHERE object_id = {object}");
    base.number(&of).await.unwrap()
}

fn later(days: i64) -> DateTime<Utc> {
    Utc::now() + TimeDelta::days(days)
}

#[tokio::test]
async fn only_the_first_rejected_lines_of_an_object_are_stored_and_all_are_counted() {
    let most = i64::try_from(STORED_REJECTS).unwrap();
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        // Not in the order of their lines: too many are stored at first.
        for before in [2 * CHUNK_LINES, 0, CHUNK_LINES, 3 * CHUNK_LINES] {
            let chunk = rejected(1, before, CHUNK_LINES, Reason::InvalidJson, "no");
            assert_eq!(base.counts(&epoch, chunk).await.rejected, u64::from(CHUNK_LINES));
        }
        assert_eq!(stored(&base, 1).await, i64::from(3 * CHUNK_LINES));
        // What the database refused of an open object is always stored.
        let refused = rejected(1, 4 * CHUNK_LINES, 10, Reason::RefusedByDatabase, "no");
        base.counts(&epoch, refused).await;
        assert_eq!(stored(&base, 1).await, i64::from(3 * CHUNK_LINES) + 10);
        base.ledger.objects.remove_rejects(None).await.unwrap();
        assert_eq!(stored(&base, 1).await, i64::from(3 * CHUNK_LINES) + 10);

        read(&base.ledger, &complete(u64::from(4 * CHUNK_LINES) + 10)).await;
        base.settle().await;
        let removed = base.ledger.objects.remove_rejects(None).await.unwrap();
        assert_eq!(removed, u64::from(3 * CHUNK_LINES) + 10 - STORED_REJECTS);
        assert_eq!(stored(&base, 1).await, most);
        let last = base.number("SELECT MAX(line) FROM rejected_lines").await;
        assert_eq!(last, Some(most));
        assert_eq!(base.status(1).await.rejected, i64::from(4 * CHUNK_LINES) + 10);
    }
}

#[tokio::test]
async fn rejected_lines_of_ended_objects_are_removed_after_a_time() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        for object in [1, 2, 3] {
            base.counts(&epoch, rejected(object, 0, 1_200, Reason::InvalidJson, "no")).await;
        }
        for _ in [1, 2] {
            read(&base.ledger, &complete(1_200)).await;
        }
        base.settle().await;
        base.run(
            "INSERT INTO intake (object_id, first_line, dataset, caller, lines, created_at, body_hash)
             VALUES (2, 1, 'products', '', 1200, 0, '')",
        )
        .await;
        let remove = async |before| base.ledger.objects.remove_rejects(Some(before)).await.unwrap();
        assert_eq!(remove(later(-1)).await, 0);
        assert_eq!(remove(later(1)).await, 1_200);
        // Those of a post, and of an open object, stay.
        assert_eq!(
            [stored(&base, 1).await, stored(&base, 2).await, stored(&base, 3).await],
            [0, 1_200, 1_200]
        );
        assert_eq!(base.status(1).await.rejected, 1_200);
    }
}

#[tokio::test]
async fn entries_of_ended_objects_are_removed_but_not_the_last_one() {
    for base in both().await {
        let (base, epoch) = base.with_objects(5).await;
        for object in [1, 2, 3, 5] {
            base.counts(&epoch, chunk(object, 0, &[(object, "a")])).await;
        }
        for _ in [1, 2, 3] {
            read(&base.ledger, &complete(1)).await;
        }
        base.settle().await;
        base.run("UPDATE objects SET state = 'failed' WHERE id = 2").await;
        let roots = [ROOT.to_owned()];
        let ended = async |before| {
            let ended = base.ledger.objects.settled_versions(&roots, None, before).await.unwrap();
            ended.iter().map(|one| one.object.get()).collect::<Vec<_>>()
        };
        assert_eq!(ended(later(-1)).await, [0; 0]);
        assert_eq!(ended(later(1)).await, [1, 3]);
        let elsewhere = ["s3://elsewhere".to_owned()];
        let others = base.ledger.objects.settled_versions(&elsewhere, None, later(1)).await;
        assert_eq!(others.unwrap(), []);

        // The failed one and the open ones stay, also if they are asked for.
        let all: Vec<_> = (1..=5).map(id).collect();
        assert_eq!(base.ledger.objects.remove_objects(&all).await.unwrap(), 2);
        assert_eq!(base.number("SELECT COUNT(*) FROM objects").await, Some(3));
        assert!(base.product(1).await.is_some());
        // What the removed ones had would have to be read again too.
        for (from, outcome) in [
            (1, ReplayOutcome::Removed(id(3))),
            (2, ReplayOutcome::Removed(id(3))),
            (4, ReplayOutcome::Opened(Vec::new())),
        ] {
            let stored = HashSet::new();
            let plan = base.ledger.objects.replay_plan(&replay(from, &stored)).await.unwrap();
            match (plan, outcome) {
                (
                    ReplayOutcome::Opened(_) | ReplayOutcome::Missing(_),
                    ReplayOutcome::Opened(_),
                ) => {}
                (plan, outcome) => assert_eq!(plan, outcome, "{from}"),
            }
        }

        base.run("UPDATE objects SET state = 'done', done_at = registered_at").await;
        assert_eq!(base.ledger.objects.remove_objects(&all).await.unwrap(), 2);
        assert_eq!(base.number("SELECT MIN(id) FROM objects").await, Some(5));
        register(&base.ledger, 5).await;
        // The numbers go on.
        assert_eq!(base.number("SELECT MAX(id) FROM objects").await, Some(9));
        assert_eq!(base.ledger.objects.register(&[listed("5", 5)]).await.unwrap(), 0);
    }
}
