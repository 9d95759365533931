//! Posts of records over HTTP.

use chrono::{TimeDelta, Utc};
use jetline_store::{
    DeclarationFile, ObjectState,
    objects::{NewObject, NewPost, Post, PostOutcome, PostsOutcome},
};

use crate::fixtures::{TestDatabase, both, id, listed};

fn post(caller: &str, key: Option<&str>, first_line: u32) -> NewPost {
    NewPost {
        caller: caller.to_owned(),
        idempotency_key: key.map(str::to_owned),
        body_hash: [7; 32],
        first_line,
        lines: 2,
    }
}

async fn register(base: &TestDatabase, object: &NewObject, posts: &[NewPost]) -> PostsOutcome {
    base.ledger.objects.register_posts(object, 1, posts).await.unwrap()
}

#[tokio::test]
async fn post_is_registered_with_its_object_and_once_for_a_key() {
    for base in &both().await {
        let posts = [post("ann", Some("1"), 1), post("ann", None, 3), post("bob", Some("1"), 5)];
        let outcome = register(base, &listed("a.jsonl", 0), &posts).await;
        assert_eq!(outcome, PostsOutcome::Registered(id(1)));
        let ledger = &base.ledger.objects;
        let known = posts[0].registered(id(1), "products");
        assert_eq!(ledger.post(id(1), 1).await.unwrap().as_ref(), Some(&known));
        assert_eq!(ledger.post(id(1), 2).await.unwrap(), None);
        let with_key = ledger.post_with_key("ann", "products", "1").await.unwrap();
        assert_eq!(with_key.as_ref(), Some(&known));
        for (caller, dataset, key) in
            [("eve", "products", "1"), ("ann", "others", "1"), ("ann", "products", "2")]
        {
            assert_eq!(ledger.post_with_key(caller, dataset, key).await.unwrap(), None);
        }
        // Nothing of another object is registered if one of its posts is known.
        let again = [post("eve", Some("1"), 1), post("ann", Some("1"), 3)];
        let outcome = register(base, &listed("b.jsonl", 0), &again).await;
        assert_eq!(outcome, PostsOutcome::Known([(1, known)].into()));
        assert_eq!(ledger.next().await.unwrap(), id(2));
        // One that a listing found before keeps its number.
        ledger.register(&[listed("c.jsonl", 0)]).await.unwrap();
        let outcome = register(base, &listed("c.jsonl", 0), &[post("ann", None, 1)]).await;
        assert_eq!(outcome, PostsOutcome::Registered(id(2)));
    }
}

#[tokio::test]
async fn outcome_of_a_post_is_that_of_its_lines() {
    for base in &both().await {
        register(base, &listed("a.jsonl", 0), &[post("ann", None, 1), post("ann", None, 3)]).await;
        for line in [2, 3, 4] {
            let sql = format!(
                "INSERT INTO rejected_lines (object_id, line, byte_offset, reason, message, raw) VALUES (1, {line}, 0, 'x', 'y', '')"
            );
            base.run(&sql).await;
        }
        let ledger = &base.ledger.objects;
        let outcome = async |line| {
            let post: Post = ledger.post(id(1), line).await.unwrap().unwrap();
            ledger.post_outcome(&post).await.unwrap()
        };
        let waiting =
            |rejected| PostOutcome { state: ObjectState::Registered, error: None, rejected };
        assert_eq!((outcome(1).await, outcome(3).await), (waiting(1), waiting(2)));
        assert!(ledger.settled_among(&[id(1), id(9)]).await.unwrap().is_empty());
        base.run("UPDATE objects SET state = 'failed', error = 'broken'").await;
        let failed =
            PostOutcome { state: ObjectState::Failed, error: Some("broken".into()), rejected: 1 };
        assert_eq!(outcome(1).await, failed);
        assert_eq!(ledger.settled_among(&[id(1), id(9)]).await.unwrap(), [id(1)]);
    }
}

#[tokio::test]
async fn old_post_is_forgotten_with_its_key_and_its_object_stays() {
    for base in &both().await {
        register(base, &listed("a.jsonl", 0), &[post("ann", Some("1"), 1)]).await;
        let ledger = &base.ledger.objects;
        assert_eq!(ledger.forget_posts(Utc::now() - TimeDelta::hours(1)).await.unwrap(), 0);
        assert_eq!(ledger.forget_posts(Utc::now() + TimeDelta::hours(1)).await.unwrap(), 1);
        assert_eq!(ledger.post(id(1), 1).await.unwrap(), None);
        let outcome = register(base, &listed("b.jsonl", 0), &[post("ann", Some("1"), 1)]).await;
        assert_eq!(outcome, PostsOutcome::Registered(id(2)));
    }
}

#[tokio::test]
async fn post_by_another_declaration_is_not_registered_and_a_dropped_dataset_forgets_its_keys() {
    const THINGS: &str = "key = 'id'\ncolumns = { id = 'bigint' }\n";
    for base in &both().await {
        let declare = async |text: &str| {
            let file = DeclarationFile::new("things", "things.toml", text).unwrap();
            base.database.declare(&[file]).await.unwrap();
            base.database.datasets().await.unwrap().get("things").unwrap().declaration
        };
        let first = declare(THINGS).await;
        let object = |key: &str| NewObject {
            dataset: "things".to_owned(),
            is_posted: true,
            ..listed(key, 0)
        };
        let posts = [post("ann", Some("1"), 1)];
        let ledger = &base.ledger.objects;
        let register = async |key: &str, declaration| {
            ledger.register_posts(&object(key), declaration, &posts).await.unwrap()
        };
        assert!(matches!(register("a.jsonl", first).await, PostsOutcome::Registered(_)));
        let second = declare(&THINGS.replace('}', ", name = 'text' }")).await;
        assert_eq!(register("b.jsonl", first).await, PostsOutcome::Outdated);
        assert!(matches!(register("b.jsonl", second).await, PostsOutcome::Known(_)));
        base.database.drop_dataset("things").await.unwrap();
        assert_eq!(register("c.jsonl", second).await, PostsOutcome::Outdated);
        let third = declare(THINGS).await;
        assert!(matches!(register("c.jsonl", third).await, PostsOutcome::Registered(_)));
    }
}
