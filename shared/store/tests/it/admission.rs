//! Which chunks may be claimed.

use jetline_store::chunks::Admission;

use crate::fixtures::{both, epoch_id, range};

#[tokio::test]
async fn chunks_of_registered_objects_may_be_claimed_in_the_epoch_in_force() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let (first, second, unknown) = (range(1, 0, 1), range(2, 0, 1), range(9, 0, 1));
        let mut restored = range(2, 1, 1);
        restored.incarnation = "of another database".to_owned();
        let admit =
            async |epoch, chunks: &[_]| base.ledger.chunks.admit(epoch, chunks).await.unwrap();
        assert_eq!(admit(epoch.id, &[&first, &second]).await, Admission::All);
        let mixed = admit(epoch.id, &[&first, &unknown, &restored]).await;
        assert_eq!(mixed, Admission::Except(vec![unknown.clone(), restored.clone()]));
        assert_eq!(admit(epoch_id(7), &[&first]).await, Admission::EpochEnded);
    }
}

/// Its claims would be of an epoch in which it was dead before.
#[tokio::test]
async fn dead_chunk_that_a_writer_still_has_may_not_be_claimed() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let (dead, other) = (range(1, 0, 1), range(1, 1, 1));
        base.dead_letter(1, 0, 1).await;
        let admit = async |chunks: &[_]| base.ledger.chunks.admit(epoch.id, chunks).await.unwrap();
        assert_eq!(admit(&[&dead, &other]).await, Admission::Except(vec![dead.clone()]));
        // Not for the rest of the epoch: another one of the object may be dead soon.
        assert_eq!(admit(&[&other]).await, Admission::AllNow);
        assert_eq!(admit(&[&range(2, 0, 1)]).await, Admission::All);
    }
}
