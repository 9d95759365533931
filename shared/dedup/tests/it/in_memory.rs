//! [`InMemory`] passes the conformance suite.

use std::sync::Arc;

use jetline_testkit::dedup::InMemory;

use crate::conformance::{Writers, begin, is_lost, shared_store_conforms};

async fn open() -> Writers {
    let store = Arc::new(InMemory::default());
    Writers((0..4).map(|_| Arc::clone(&store) as _).collect())
}

shared_store_conforms!(open);

#[tokio::test]
async fn claims_are_lost_with_the_entries() {
    let store = InMemory::default();
    let epoch = begin(&store).await;
    assert!(!is_lost(&store, &epoch).await);
    store.lose();
    assert!(is_lost(&store, &epoch).await);
    let next = begin(&store).await;
    assert!(!is_lost(&store, &next).await);
}
