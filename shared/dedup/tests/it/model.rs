//! Random claims get the verdicts of the reference model.

use jetline_core::{EpochId, Key};
use jetline_dedup::{Claim, Dedup};
use jetline_testkit::dedup::InMemory;
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use tokio::runtime::Runtime;

use crate::{
    conformance::{verdicts, versioned},
    redis::connect,
};

/// A claim of some ids, each at most once, and the object up to which entries are trusted.
type Step = (i64, Vec<Claim>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop_oneof![
        (-70..70_i64).prop_map(Key::Int),
        any::<i64>().prop_map(Key::Int),
        "[ab\n ]{0,3}".prop_map(Key::Text),
        any::<String>().prop_map(Key::Text),
    ];
    let number = prop_oneof![0..4_i64, (1_i64 << 31) - 4..1 << 31];
    let line = prop_oneof![0..4_u32, u32::MAX - 3..=u32::MAX];
    let version = prop_oneof![4 => Just(0), 1 => -2_i64..2, 1 => any::<i64>()];
    let rest = (prop_oneof![Just(b'a'), Just(b'b')], version, number.clone(), line);
    let claims = btree_map(key, rest, 0..40).prop_map(|claims| {
        claims
            .into_iter()
            .map(|(key, (content, version, number, line))| {
                versioned(key, content, version, number, line)
            })
            .collect()
    });
    vec((number, claims), 1..20)
}

#[test]
fn redis_agrees_with_the_model_on_random_claims() {
    let runtime = Runtime::new().unwrap();
    let redis = runtime.block_on(connect("model"));
    let config = Config { cases: 100, ..Config::default() };
    let agreed = TestRunner::new(config)
        .run(&steps(), |steps| runtime.block_on(agree(&redis, &InMemory::default(), &steps)));
    agreed.unwrap();
}

async fn agree(store: &dyn Dedup, model: &dyn Dedup, steps: &[Step]) -> Result<(), TestCaseError> {
    let epoch = EpochId::random(&mut rand::rng());
    store.begin(&epoch).await.unwrap();
    model.begin(&epoch).await.unwrap();
    for (trusted, claims) in steps {
        prop_assert_eq!(
            verdicts(store, &epoch, *trusted, claims).await,
            verdicts(model, &epoch, *trusted, claims).await
        );
    }
    Ok(())
}
