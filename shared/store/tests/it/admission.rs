//! What may be claimed, and what the database did not accept of it.

use std::collections::HashSet;

use jetline_records::{Reason, Rejection};
use jetline_store::{CommitOutcome, RejectedLine, ledger::Admission};

use crate::base::{both, chunk, entry, epoch_id, id};

fn all(with_refused: &[i64]) -> Admission {
    let with_refused: HashSet<_> = with_refused.iter().map(|object| id(*object)).collect();
    Admission::All { with_refused }
}

#[tokio::test]
async fn chunks_of_registered_objects_may_be_claimed_in_the_epoch_in_force() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let (first, second, unknown) = (entry(1, 0, 1), entry(2, 0, 1), entry(9, 0, 1));
        let mut restored = entry(2, 1, 1);
        restored.registration = "of another database".to_owned();
        let admit = async |epoch, chunks: &[_]| base.ledger.admit(epoch, chunks).await.unwrap();
        assert_eq!(admit(epoch.id, &[&first, &second]).await, all(&[]));
        let mixed = admit(epoch.id, &[&first, &unknown, &restored]).await;
        assert_eq!(
            mixed,
            Admission::Except(vec![unknown.clone(), restored.clone()])
        );
        assert_eq!(admit(epoch_id(7), &[&first]).await, Admission::EpochEnded);
    }
}

#[tokio::test]
async fn line_that_the_database_refused_is_left_out_from_the_next_epoch_on() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let mut bad = chunk(1, 3, &[(1, "a"), (2, "b")]);
        bad.rejected.push(RejectedLine {
            line: 5,
            offset: 40,
            rejection: Rejection::new(Reason::RefusedByDatabase, "too long"),
            raw: b"{}".to_vec(),
        });
        let refuse = async |epoch, new| {
            let chunks = std::slice::from_ref(&bad);
            base.ledger.refuse(epoch, chunks, new).await.unwrap();
        };
        refuse(epoch.id, epoch_id(2)).await;
        let next = base.ledger.epoch().await.unwrap().unwrap().epoch;
        assert_eq!((next.id, next.base), (epoch_id(2), id(1)));
        let outcome = base.commit(&epoch, std::slice::from_ref(&bad)).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
        // It ends the epoch that it was claimed in, and no other.
        refuse(epoch.id, epoch_id(3)).await;
        assert_eq!(base.ledger.epoch().await.unwrap().unwrap().epoch, next);

        let (before, behind) = (entry(1, 0, 3), entry(1, 5, 2));
        let admitted = base.ledger.admit(next.id, &[&before, &behind]).await;
        assert_eq!(admitted.unwrap(), all(&[1]));
        let refused = base.ledger.refused(&bad.entry).await.unwrap();
        assert_eq!(refused.keys().collect::<Vec<_>>(), [&5]);
        assert_eq!(refused[&5].message, "too long");
        for entry in [before, behind, entry(2, 3, 2)] {
            assert!(base.ledger.refused(&entry).await.unwrap().is_empty());
        }
        bad.rows.pop();
        assert_eq!(base.counts(&next, bad).await.lines(), 2);
        assert_eq!(base.status(1).await.rejected, 1);
    }
}
