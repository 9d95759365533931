//! The conformance suite of shared stores: one function per promise of the port.
//!
//! An adapter runs them all with `shared_store_conforms!(open)`, where `open` is an async function that returns
//! [`Writers`] of a new store.

mod epochs;
mod ids;
mod verdicts;

use std::sync::Arc;

use jetline_core::{EpochId, Fingerprint, Key, ObjectId, Position, Rank, Verdict};
use jetline_dedup::{Claim, Claimed, Dedup};

pub(crate) use epochs::*;
pub(crate) use ids::*;
pub(crate) use verdicts::*;

/// Defines a test for every promise.
macro_rules! shared_store_conforms {
    ($open:path) => {
        $crate::conformance::shared_store_conforms!($open;
            mode_is_shared,
            first_line_is_written_if_changed,
            lower_rank_is_superseded_and_not_noted,
            superseded_names_the_line_above_down_to_the_last_bit,
            same_content_is_unchanged_only_below_the_trusted_object,
            unchanged_line_raises_the_rank,
            content_that_is_stored_stays_unchanged_until_another_comes,
            stored_content_keeps_its_rank_to_the_last_bit,
            other_content_is_written_even_when_the_entry_is_trusted,
            redelivered_line_is_not_superseded_by_itself,
            position_decides_down_to_its_last_bit,
            version_decides_before_the_position,
            version_zero_is_between_negative_and_positive_versions,
            integer_ids_of_any_size_are_distinct,
            text_ids_of_any_content_are_distinct,
            datasets_do_not_mix,
            verdicts_come_in_the_order_of_many_claims,
            empty_claim_has_no_verdicts,
            claims_of_concurrent_writers_are_atomic,
            claims_without_an_epoch_are_lost,
            claims_under_an_old_epoch_are_lost,
            new_epoch_begins_empty,
            forgotten_epochs_are_gone_and_the_current_one_stays,
            removing_the_current_epoch_ends_it,
        );
    };
    ($open:path; $($promise:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $promise() {
                $crate::conformance::$promise(&$open().await).await;
            }
        )+
    };
}
pub(crate) use shared_store_conforms;

/// Writers that share a store, like separate processes.
pub(crate) struct Writers(pub(crate) Vec<Arc<dyn Dedup>>);

impl Writers {
    pub(crate) fn one(&self) -> &dyn Dedup {
        &*self.0[0]
    }

    pub(crate) async fn begin(&self) -> EpochId {
        begin(self.one()).await
    }
}

pub(crate) async fn begin(dedup: &dyn Dedup) -> EpochId {
    let epoch = EpochId::random(&mut rand::rng());
    dedup.begin(&epoch).await.unwrap();
    epoch
}

/// `Superseded` in tests that do not check the position.
pub(crate) const SUPERSEDED: Verdict = Verdict::Superseded(NOWHERE);

const NOWHERE: Position = Position::new(ObjectId::MAX, 0);

/// The verdicts of claims of products that are not lost, without the positions of what superseded them.
pub(crate) async fn judged(
    dedup: &dyn Dedup,
    epoch: &EpochId,
    trusted: i64,
    claims: &[Claim],
) -> Vec<Verdict> {
    let verdicts = verdicts(dedup, epoch, trusted, claims).await;
    let alike = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Superseded(_) => SUPERSEDED,
        verdict => verdict,
    });
    alike.collect()
}

/// The verdicts of claims of products that are not lost.
pub(crate) async fn verdicts(
    dedup: &dyn Dedup,
    epoch: &EpochId,
    trusted: i64,
    claims: &[Claim],
) -> Vec<Verdict> {
    match dedup.claim(epoch, object(trusted), "products", claims).await.unwrap() {
        Claimed::Verdicts(verdicts) => verdicts,
        Claimed::Lost => panic!("the epoch is lost"),
    }
}

pub(crate) async fn is_lost(dedup: &dyn Dedup, epoch: &EpochId) -> bool {
    let claims = [claim(Key::Int(1), b'a', 1, 1)];
    dedup.claim(epoch, object(0), "products", &claims).await.unwrap() == Claimed::Lost
}

pub(crate) fn object(number: i64) -> ObjectId {
    ObjectId::new(number).unwrap()
}

pub(crate) fn claim(key: Key, content: u8, number: i64, line: u32) -> Claim {
    versioned(key, content, 0, number, line)
}

pub(crate) fn versioned(key: Key, content: u8, version: i64, number: i64, line: u32) -> Claim {
    Claim {
        key,
        fingerprint: Fingerprint::from([content; 16]),
        rank: Rank { version, position: Position::new(object(number), line) },
    }
}
