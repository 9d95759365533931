//! [`WithoutStore`] gives every record the same verdict and loses nothing.

use jetline_core::{EpochId, Key, Mode, Verdict};
use jetline_dedup::{Dedup, WithoutStore};

use crate::conformance::{claim, is_lost, judged};

async fn judges_every_line(store: WithoutStore, verdict: Verdict) {
    let epoch = EpochId::random(&mut rand::rng());
    store.begin(&epoch).await.unwrap();
    let claims = [1, 2, 1].map(|line| claim(Key::Int(1), b'a', 1, line));
    for line in claims {
        assert_eq!(judged(&store, &epoch, 9, &[line]).await, [verdict]);
    }
    assert_eq!(judged(&store, &epoch, 9, &[]).await, []);
    let other = EpochId::random(&mut rand::rng());
    assert!(!is_lost(&store, &other).await);
    assert_eq!(store.epochs().await.unwrap(), []);
    assert_eq!(store.remove(&[epoch]).await.unwrap(), 0);
}

#[tokio::test]
async fn mode_off_writes_every_line() {
    assert_eq!(WithoutStore::off().mode(), Mode::Off);
    judges_every_line(WithoutStore::off(), Verdict::Write).await;
}

#[tokio::test]
async fn mode_in_order_writes_changed_lines() {
    assert_eq!(WithoutStore::in_order().mode(), Mode::InOrder);
    judges_every_line(WithoutStore::in_order(), Verdict::WriteIfChanged).await;
}
