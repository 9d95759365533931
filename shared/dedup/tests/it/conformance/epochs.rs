//! Entries belong to their epoch.

use jetline_core::Verdict::{Unchanged, WriteIfChanged};
use jetline_core::{EpochId, Key};
use jetline_dedup::Claim;

use super::{Writers, claim, is_lost, judged};

pub(crate) async fn claims_without_an_epoch_are_lost(writers: &Writers) {
    let never_begun = EpochId::random(&mut rand::rng());
    assert!(is_lost(writers.one(), &never_begun).await);
}

pub(crate) async fn claims_under_an_old_epoch_are_lost(writers: &Writers) {
    let old = writers.begin().await;
    assert!(!is_lost(writers.one(), &old).await);
    let new = writers.begin().await;
    for writer in &writers.0 {
        assert!(is_lost(&**writer, &old).await);
        assert!(!is_lost(&**writer, &new).await);
    }
}

pub(crate) async fn new_epoch_begins_empty(writers: &Writers) {
    let claims = [claim(Key::Int(1), b'a', 1, 1)];
    for _ in 0..2 {
        let epoch = writers.begin().await;
        let verdicts = judged(writers.one(), &epoch, 9, &claims).await;
        assert_eq!(verdicts, [WriteIfChanged]);
    }
}

pub(crate) async fn forgotten_epochs_are_gone_and_the_current_one_stays(writers: &Writers) {
    let claims: Vec<Claim> = (0..3_000).map(|id| claim(Key::Int(id * 64), b'a', 1, 1)).collect();
    let mut epochs = Vec::new();
    for _ in 0..3 {
        let epoch = writers.begin().await;
        judged(writers.one(), &epoch, 0, &claims).await;
        epochs.push(epoch);
    }
    let (current, ended) = epochs.split_last().unwrap();
    let mut listed = writers.one().epochs().await.unwrap();
    listed.sort_unstable();
    let mut all = epochs.clone();
    all.sort_unstable();
    assert_eq!(listed, all);

    assert_eq!(writers.one().remove(ended).await.unwrap(), 6_000);
    assert_eq!(writers.one().epochs().await.unwrap(), [*current]);
    let verdicts = judged(writers.one(), current, 2, &claims).await;
    assert_eq!(verdicts, vec![Unchanged; claims.len()]);
    assert_eq!(writers.one().remove(ended).await.unwrap(), 0);
}

pub(crate) async fn removing_the_current_epoch_ends_it(writers: &Writers) {
    let epoch = writers.begin().await;
    assert!(!is_lost(writers.one(), &epoch).await);
    writers.one().remove(&[epoch]).await.unwrap();
    assert!(is_lost(writers.one(), &epoch).await);
}
