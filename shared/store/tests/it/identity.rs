//! The identity of a ledger, and the dedup store of its epochs.

use jetline_core::Mode;
use jetline_store::epochs::NewDedupStore;

use crate::fixtures::{begin, both, register, sqlite};

#[tokio::test]
async fn identity_of_a_ledger_is_stable_and_unique() {
    for base in both().await {
        let identity = base.database.identity().await.unwrap();
        assert_eq!(base.database.identity().await.unwrap(), identity);
        assert_ne!(sqlite().await.database.identity().await.unwrap(), identity);
    }
}

#[tokio::test]
async fn dedup_store_is_recorded_only_for_the_epoch_in_force() {
    for base in both().await {
        register(&base.ledger, 1).await;
        assert_eq!(base.ledger.epochs.last_dedup_store().await.unwrap(), None);
        let epoch = begin(&base.ledger, Mode::Shared, None, 1).await;
        let store = |address: &str| NewDedupStore {
            address: address.to_owned(),
            identity: "replication a".to_owned(),
            returns: 2,
            is_contended: true,
        };
        let note = base.ledger.epochs.record_dedup_store(epoch.id, store("redis://one"));
        note.await.unwrap();
        let next = begin(&base.ledger, Mode::Shared, Some(epoch.id), 2).await;
        let late = base.ledger.epochs.record_dedup_store(epoch.id, store("redis://two"));
        late.await.unwrap();
        let last = base.ledger.epochs.last_dedup_store().await.unwrap().unwrap();
        assert_eq!(last.epoch, next.id);
        assert_eq!(last.address.as_deref(), Some("redis://one"));
        assert_eq!(last.identity.as_deref(), Some("replication a"));
        assert_eq!(last.returns, 2);
        assert!(last.returned_ago.is_some());
    }
}
