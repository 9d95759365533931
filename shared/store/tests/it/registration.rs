//! Registration: object versions get their numbers once, in the order of the list.

use chrono::{TimeDelta, Utc};
use jetline_core::ObjectVersion;
use jetline_store::{
    entities::objects,
    objects::{ListedObjects, NewObject},
};
use sea_orm::{EntityTrait, QueryOrder};

use crate::fixtures::{TestDatabase, both, declare, id, listed, watermark};

async fn keys(base: &TestDatabase) -> Vec<(i64, String)> {
    let all = objects::Entity::find().order_by_asc(objects::Column::Id);
    let all = all.all(base.db()).await.unwrap();
    all.into_iter().map(|object| (object.id, object.key)).collect()
}

fn numbered(keys: &[&str]) -> Vec<(i64, String)> {
    (1..).zip(keys.iter().copied().map(str::to_owned)).collect()
}

#[tokio::test]
async fn numbers_follow_the_order_of_the_list() {
    for base in both().await {
        assert_eq!(watermark(&base.ledger).await, 1);
        let objects = [listed("b", 1), listed("a", 2), listed("c", 3)];
        assert_eq!(base.ledger.objects.register(&objects).await.unwrap(), 3);
        assert_eq!(keys(&base).await, numbered(&["b", "a", "c"]));
        let first = base.object(1).await;
        assert_eq!(first.state, objects::State::Registered);
        assert_eq!(first.size, 1_000);
        assert_eq!((first.chunk_bytes, first.chunk_lines), (100, Some(10)));
        assert_eq!((first.incarnation.as_str(), first.readings), ("rb", 0));
        assert_eq!(watermark(&base.ledger).await, 1);
    }
}

#[tokio::test]
async fn known_versions_are_skipped_and_new_ones_get_the_next_numbers() {
    for base in both().await {
        let first = [listed("a", 1), listed("b", 2)];
        base.ledger.objects.register(&first).await.unwrap();
        assert_eq!(base.ledger.objects.register(&first).await.unwrap(), 0);
        let then = [listed("0", 0), listed("a", 1), listed("b", 2), listed("c", 3)];
        assert_eq!(base.ledger.objects.register(&then).await.unwrap(), 2);
        assert_eq!(keys(&base).await, numbered(&["a", "b", "0", "c"]));
        assert_eq!(base.ledger.objects.register(&[]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn another_content_time_root_or_size_is_another_version() {
    for base in both().await {
        let version = listed("a", 1);
        let mut later = version.clone();
        later.version.last_modified += TimeDelta::microseconds(1);
        let [mut changed, mut elsewhere, mut longer] =
            [version.clone(), version.clone(), version.clone()];
        changed.version.etag = "f".to_owned();
        elsewhere.version.root = "s3://other".to_owned();
        longer.version.size = 1_001;
        // Databases store microseconds.
        let mut same = version.clone();
        same.version.last_modified += TimeDelta::nanoseconds(1);
        let all = [version, later, changed, elsewhere, longer, same];
        assert_eq!(base.ledger.objects.register(&all).await.unwrap(), 5);
        assert_eq!(base.ledger.objects.register(&all).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn object_is_registered_once_for_each_dataset() {
    for base in both().await {
        declare(&base.database, "things", "key = 'id'\ncolumns = { id = 'bigint' }").await;
        let wrong = listed("a", 1);
        let right = NewObject { dataset: "things".to_owned(), ..wrong.clone() };
        let ledger = &base.ledger.objects;
        assert_eq!(ledger.register(std::slice::from_ref(&wrong)).await.unwrap(), 1);
        base.run("UPDATE objects SET state = 'failed'").await;
        assert_eq!(ledger.register(&[wrong.clone(), right.clone()]).await.unwrap(), 1);
        assert_eq!(ledger.split_known(vec![wrong]).await.unwrap().failed, [id(1)]);
        assert_eq!(ledger.split_known(vec![right]).await.unwrap().failed, []);
    }
}

#[tokio::test]
async fn object_that_is_listed_twice_is_registered_once() {
    for base in both().await {
        let twice = [listed("a", 1), listed("a", 1)];
        assert_eq!(base.ledger.objects.register(&twice).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn thousands_of_objects_are_registered_at_once() {
    for base in both().await {
        let objects: Vec<_> = (0..2_300).map(|n| listed(&format!("{n:05}"), n / 2)).collect();
        assert_eq!(base.ledger.objects.register(&objects[..1_100]).await.unwrap(), 1_100);
        assert_eq!(base.ledger.objects.register(&objects).await.unwrap(), 1_200);
        let expected = (1..).zip(objects.iter().map(|one| one.version.key.clone()));
        assert_eq!(keys(&base).await, expected.collect::<Vec<_>>());
    }
}

fn by_time(version: &ObjectVersion) -> Vec<u8> {
    version.last_modified.timestamp().to_be_bytes().to_vec()
}

fn listed_objects(base: &TestDatabase, listing: &str) -> ListedObjects {
    base.ledger.objects.listed_objects(listing.to_owned(), by_time)
}

/// Pages of objects, each older than the one before it.
fn pages(count: i64) -> impl Iterator<Item = Vec<NewObject>> {
    (0..count).rev().map(|page| {
        (page * 400..(page + 1) * 400).map(|n| listed(&format!("{n:05}"), n / 2)).collect()
    })
}

/// More of them than are held in memory.
async fn list(base: &TestDatabase, listing: &str) -> ListedObjects {
    let mut new = listed_objects(base, listing);
    for page in pages(4) {
        new.add(page).await.unwrap();
    }
    new
}

async fn in_table(base: &TestDatabase, listing: &str) -> i64 {
    let count = format!("SELECT COUNT(*) FROM listed_objects WHERE listing_id = '{listing}'");
    base.number(&count).await.unwrap()
}

#[tokio::test]
async fn objects_of_many_pages_are_numbered_in_one_order() {
    for base in both().await {
        let known = [listed("00007", 3), listed("01999", 999)];
        base.ledger.objects.register(&known).await.unwrap();
        let mut new = listed_objects(&base, "a");
        for page in pages(5) {
            // A better match on the page after it replaces another one.
            let count = new.count();
            new.add(vec![listed("worse", 0); 700]).await.unwrap();
            new.truncate(count).await.unwrap();
            // Two sources have it.
            new.add(page.clone()).await.unwrap();
            new.add(page).await.unwrap();
        }
        assert!(in_table(&base, "a").await > 2_000);
        assert_eq!(new.register().await.unwrap(), 1_998);
        base.ledger.objects.remove_listing("a").await.unwrap();
        assert_eq!(in_table(&base, "a").await, 0);
        let numbers = (0..2_000).map(|n| format!("{n:05}"));
        let unknown = numbers.filter(|key| known.iter().all(|one| one.version.key != *key));
        let expected = known.iter().map(|one| one.version.key.clone()).chain(unknown);
        assert_eq!(keys(&base).await, (1..).zip(expected).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_listings_register_each_object_once() {
    for base in both().await {
        let (mut one, mut other) = (list(&base, "a").await, list(&base, "b").await);
        let (one, other) = tokio::join!(one.register(), other.register());
        let mut new = [one.unwrap(), other.unwrap()];
        new.sort_unstable();
        assert_eq!(new, [0, 1_600]);
        let expected = (0..1_600).map(|n| format!("{n:05}"));
        assert_eq!(keys(&base).await, (1..).zip(expected).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn listing_whose_objects_are_lost_registers_nothing() {
    for base in both().await {
        let mut new = list(&base, "a").await;
        base.run("DELETE FROM listed_objects WHERE sequence = 5").await;
        let error = new.register().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("only 1599 of 1600"), "{error}");
        assert_eq!(keys(&base).await, []);
        base.ledger.objects.remove_listing("a").await.unwrap();
        assert_eq!(in_table(&base, "a").await, 0);
        assert_eq!(list(&base, "b").await.register().await.unwrap(), 1_600);
    }
}

#[tokio::test]
async fn listings_that_were_abandoned_are_removed() {
    for base in both().await {
        drop(list(&base, "a").await);
        let now = Utc::now();
        let ledger = &base.ledger.objects;
        let hours = TimeDelta::hours;
        assert_eq!(ledger.remove_abandoned_listings(now + hours(23)).await.unwrap(), 0);
        assert!(in_table(&base, "a").await > 1_000);
        assert!(ledger.remove_abandoned_listings(now + hours(25)).await.unwrap() > 1_000);
        assert_eq!(in_table(&base, "a").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_fetchers_register_each_object_once() {
    for base in both().await {
        let objects: Vec<_> = (0..600).map(|n| listed(&format!("{n:05}"), n)).collect();
        let registrars = [0..400, 200..600, 100..500, 0..600].map(|part| {
            let (ledger, objects) = (base.ledger.clone(), objects[part].to_vec());
            tokio::spawn(async move { ledger.objects.register(&objects).await.unwrap() })
        });
        let mut new = 0;
        for registrar in registrars {
            new += registrar.await.unwrap();
        }
        assert_eq!(new, 600);
        let keys = keys(&base).await;
        assert!(keys.iter().map(|(id, _)| *id).eq(1..=600));
        let mut names: Vec<_> = keys.into_iter().map(|(_, key)| key).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 600);
    }
}
