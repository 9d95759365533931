//! Objects that could not be read for a reason that is not a fault of them.

use std::{fmt::Write, time::Duration};

use jetline_store::{
    entities::objects::State,
    objects::{OpenObject, Refusal},
};

use crate::fixtures::{
    LEASE_TERM, ONE_OBJECT, ROOT, TestDatabase, both, complete, id, listed, register,
};

fn roots() -> [String; 1] {
    [ROOT.to_owned()]
}

async fn leased(base: &TestDatabase, owner: &str) -> Option<i64> {
    let leased = base.ledger.objects.lease(owner, &roots(), LEASE_TERM, ONE_OBJECT).await.unwrap();
    leased.first().map(|object| object.id.get())
}

fn refusal(object: i64, delay: Duration) -> [Refusal; 1] {
    [Refusal { object: id(object), reason: "the token has expired".to_owned(), delay }]
}

const LONG: Duration = Duration::from_hours(1);

#[tokio::test]
async fn refused_object_stays_open_with_its_reason_and_is_not_leased_before_retry_at() {
    for base in both().await {
        register(&base.ledger, 2).await;
        assert_eq!(leased(&base, "a").await, Some(1));
        let noted = base.ledger.objects.record_refusals(&refusal(1, LONG), "a").await;
        assert_eq!(noted.unwrap(), 1);
        let object = base.object(1).await;
        assert_eq!((object.state, object.refusals), (State::Registered, 1));
        let error = base.status(1).await.error;
        assert_eq!(error.as_deref(), Some("the token has expired"));
        assert_eq!(leased(&base, "b").await, Some(2));
        assert_eq!(leased(&base, "c").await, None);
        assert_eq!(base.ledger.objects.retry_refused(&roots()).await.unwrap(), 1);
        assert_eq!(leased(&base, "c").await, Some(1));
    }
}

#[tokio::test]
async fn refused_object_is_leased_after_retry_at_and_a_finished_read_clears_the_refusal() {
    for base in both().await {
        register(&base.ledger, 1).await;
        assert_eq!(leased(&base, "a").await, Some(1));
        let refusal = refusal(1, Duration::ZERO);
        base.ledger.objects.record_refusals(&refusal, "a").await.unwrap();
        assert_eq!(leased(&base, "a").await, Some(1));
        let finished = base.ledger.objects.record_outcomes(&[(id(1), complete(0))], "a").await;
        assert_eq!(finished.unwrap(), 1);
        let object = base.object(1).await;
        let left = (object.refusal, object.refusals, object.retry_at, object.error);
        assert_eq!(left, (None, 0, None, None));
    }
}

#[tokio::test]
async fn refusal_of_an_object_of_another_owner_is_ignored() {
    for base in both().await {
        register(&base.ledger, 1).await;
        assert_eq!(leased(&base, "a").await, Some(1));
        let noted = base.ledger.objects.record_refusals(&refusal(1, LONG), "b").await;
        assert_eq!(noted.unwrap(), 0);
        assert_eq!(base.object(1).await.state, State::Reading);
    }
}

#[tokio::test]
async fn open_objects_are_listed_where_the_first_was_refused() {
    for base in both().await {
        register(&base.ledger, 2).await;
        let unended = base.ledger.objects.open_objects_if_blocked(&roots()).await;
        assert_eq!(unended.unwrap(), []);
        assert_eq!(leased(&base, "a").await, Some(1));
        let noted = base.ledger.objects.record_refusals(&refusal(1, LONG), "a").await;
        noted.unwrap();
        let expected = [true, false].into_iter().zip(1..).map(|(refused, object)| OpenObject {
            object: id(object),
            refused,
            dead: false,
        });
        let unended = base.ledger.objects.open_objects_if_blocked(&roots()).await;
        assert!(unended.unwrap().into_iter().eq(expected));
    }
}

#[tokio::test]
async fn open_objects_are_listed_after_an_unread_object_of_another_source() {
    for base in both().await {
        register(&base.ledger, 2).await;
        base.run("UPDATE objects SET root = 'another' WHERE id = 1").await;
        let unended = async || {
            let unended = base.ledger.objects.open_objects_if_blocked(&roots()).await.unwrap();
            unended.iter().map(|one| one.object).collect::<Vec<_>>()
        };
        assert_eq!(unended().await, [id(2)]);
        let roots = ["another".to_owned()];
        let leased = base.ledger.objects.lease("b", &roots, LEASE_TERM, ONE_OBJECT).await.unwrap();
        assert_eq!(leased.len(), 1);
        assert_eq!(unended().await, []);
        base.run("UPDATE objects SET lease_until = 1 WHERE id = 1").await;
        assert_eq!(unended().await, [id(2)]);
    }
}

#[tokio::test]
async fn key_that_the_database_cannot_store_is_refused_alone() {
    for base in both().await {
        let is_postgres = base.ledger.chunks.system() == "postgresql";
        let mut nul = listed("1", 1);
        nul.version.key = "nul\0.jsonl".to_owned();
        assert_eq!(base.ledger.objects.skip_reason(&nul).is_some(), is_postgres);
        assert_eq!(base.ledger.objects.skip_reason(&listed("1", 1)), None);
        // An accepted key can be registered: random, as PostgreSQL compresses texts.
        let mut long = listed("2", 2);
        let mut number = 7_u64;
        while base.ledger.objects.skip_reason(&long).is_none() && long.version.key.len() < 5_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            write!(long.version.key, "{:x}", number >> 60).unwrap();
        }
        assert_eq!(base.ledger.objects.skip_reason(&long).is_some(), is_postgres);
        long.version.key.truncate(long.version.key.len() - 1);
        assert_eq!(base.ledger.objects.register(&[long]).await.unwrap(), 1);
    }
}
