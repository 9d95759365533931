//! Listings of several pages.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jetline_core::ObjectId;
use jetline_fetcher::OrderBy;
use jetline_queue::Error;
use jetline_store::DeclarationFile;
use jetline_testkit::s3::Fault;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::scene::{BUCKET, Scene, TIMEOUT, ended, eventually, lines, until};

/// The keys of a page.
const PAGE: usize = 1000;

/// A bucket with a page of objects that were modified today, and behind it one of yesterday.
async fn two_pages() -> Scene {
    let scene = Scene::new(1).await;
    let today: DateTime<Utc> = "2026-11-28T12:00:00Z".parse().unwrap();
    for number in 0..PAGE {
        put(&scene, &format!("in/{number:04}.jsonl"), today);
    }
    put(&scene, "in/z.jsonl", today - TimeDelta::days(1));
    scene
}

fn put(scene: &Scene, key: &str, time: DateTime<Utc>) {
    scene.s3.put(BUCKET, key, "");
    scene.s3.set_last_modified(BUCKET, key, time);
}

async fn keys(scene: &Scene) -> Vec<String> {
    let db = scene.ledger.database().connection();
    let select = Statement::from_string(DbBackend::Sqlite, "SELECT key FROM objects ORDER BY id");
    let rows = db.query_all_raw(select).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

async fn left_in_table(scene: &Scene) -> i64 {
    let db = scene.ledger.database().connection();
    let select = Statement::from_string(DbBackend::Sqlite, "SELECT COUNT(*) FROM listed_objects");
    db.query_one_raw(select).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

#[tokio::test]
async fn objects_of_all_pages_are_numbered_in_one_order() {
    for (order_by, first, last) in [
        (OrderBy::Time, "in/z.jsonl", "in/0999.jsonl"),
        (OrderBy::Key, "in/0000.jsonl", "in/z.jsonl"),
    ] {
        let mut scene = two_pages().await;
        scene.settings.order_by = order_by;
        let registered = scene.register().await;
        assert_eq!((registered.listed, registered.new), (PAGE + 1, PAGE + 1));
        let keys = keys(&scene).await;
        assert_eq!((&*keys[0], &*keys[PAGE]), (first, last), "{order_by:?}");
    }
}

#[tokio::test]
async fn known_objects_are_counted_and_those_that_failed_are_named() {
    let scene = two_pages().await;
    scene.register().await;
    put(&scene, "in/new.jsonl", Utc::now());
    let failed = "UPDATE objects SET state = 'failed', dismissed = id = 2 WHERE id IN (1, 2, 1001)";
    scene.ledger.database().connection().execute_unprepared(failed).await.unwrap();
    let registered = scene.register().await;
    assert_eq!((registered.listed, registered.new), (PAGE + 2, 1));
    let failed: Vec<i64> = registered.failed.into_iter().map(ObjectId::get).collect();
    assert_eq!(failed, [1, 1001]);
}

/// The third page is refused; the objects of those before it are in the table by then.
#[tokio::test]
async fn listing_that_fails_leaves_no_objects_in_the_table() {
    let mut scene = Scene::new(1).await;
    for number in 0..=2 * PAGE {
        put(&scene, &format!("in/{number:04}.jsonl"), Utc::now());
    }
    scene.max_keys = 2 * PAGE as u64;
    let error = scene.try_register().await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert_eq!(keys(&scene).await, [""; 0]);
    assert_eq!(left_in_table(&scene).await, 0);
    scene.max_keys += 1;
    assert_eq!(scene.register().await.new, 2 * PAGE + 1);
    assert_eq!(left_in_table(&scene).await, 0);
}

/// The fourth page is not answered; the objects of the first two are in the table by then.
#[tokio::test]
async fn listing_that_is_stopped_leaves_no_objects_in_the_table() {
    let scene = Scene::new(1 << 20).await;
    for number in 0..=3 * PAGE {
        put(&scene, &format!("in/{number:04}.jsonl"), Utc::now());
    }
    scene.s3.fail_next(3, &Fault::Delay(Duration::ZERO));
    scene.s3.fail_next(1, &Fault::Delay(TIMEOUT));
    let fetcher = scene.spawn_fetcher().await;
    until(&scene, "SELECT COUNT(*) > 0 FROM listed_objects").await;
    scene.shutdown.soft.cancel();
    let report = ended(fetcher).await;
    assert!(!report.is_listed && report.objects.is_empty(), "{report}");
    assert_eq!(keys(&scene).await, [""; 0]);
    assert_eq!(left_in_table(&scene).await, 0);
}

/// A later listing is not answered any more, when objects of it are in the table.
#[tokio::test]
async fn reader_that_fails_ends_the_run_while_the_sources_are_listed() {
    let mut scene = Scene::new(1 << 20).await;
    scene.settings.watch = Some(Duration::from_millis(1));
    scene.queue.set_error(Some(|| Error::Full));
    scene.s3.put(BUCKET, "a.jsonl", lines(1));
    let fetcher = scene.spawn_fetcher().await;
    eventually("the object is read", || scene.s3.gets() > 0).await;
    for number in 0..20 * PAGE {
        put(&scene, &format!("in/{number:05}.jsonl"), Utc::now());
    }
    until(&scene, "SELECT COUNT(*) > 0 FROM listed_objects").await;
    scene.s3.fail_next(1_000, &Fault::Delay(TIMEOUT));
    scene.queue.set_error(Some(|| Error::Closed));
    let error = tokio::time::timeout(TIMEOUT / 2, fetcher).await.expect("the fetcher does not end");
    let error = format!("{:#}", error.unwrap().unwrap_err());
    assert!(error.contains("the queue is closed"), "{error}");
    assert_eq!(left_in_table(&scene).await, 0);
}

/// `in/a*` as a name excludes what matches it as a pattern, also on pages before.
#[tokio::test]
async fn better_match_on_a_later_page_replaces_those_before_it() {
    let mut scene = Scene::new(1).await;
    for number in 0..2 * PAGE {
        put(&scene, &format!("in/a!{number:04}.jsonl"), Utc::now());
    }
    put(&scene, "in/a*.jsonl", Utc::now());
    scene.settings.source = vec![format!("s3://{BUCKET}/in/a*.jsonl").parse().unwrap()];
    let registered = scene.register().await;
    assert_eq!((registered.listed, registered.new), (1, 1));
    assert_eq!(keys(&scene).await, ["in/a*.jsonl"]);
}

#[tokio::test]
async fn declaration_that_changes_while_a_fetcher_watches_counts_from_the_next_listing_on() {
    let mut scene = Scene::new(1 << 20).await;
    let database = scene.ledger.database().clone();
    let declare = async |column: &str| {
        let orders = "key = \"id\"\ncolumns = { id = \"bigint\" }";
        let notes = format!(
            "key = \"id\"\nunknown = \"ignore\"\n[columns]\nid = \"bigint\"\ntext = {column}\n"
        );
        let files = [("orders", orders), ("notes", &notes)];
        let files = files.map(|(name, text)| DeclarationFile::new(name, name, text).unwrap());
        database.declare(&files).await.unwrap();
    };
    declare("{ type = \"text\", optional = true }").await;
    scene.settings.dataset = None;
    let sources = format!("orders=s3://{BUCKET}/a/,notes=s3://{BUCKET}/b/");
    scene.settings.source = vec![sources.parse().unwrap()];
    scene.settings.watch = Some(Duration::from_millis(20));
    let fetcher = scene.spawn_fetcher().await;
    let order = async |number: u32| {
        scene.s3.put(BUCKET, &format!("a/{number}.jsonl"), lines(10));
        until(&scene, &format!("SELECT COUNT(*) = {number} FROM objects")).await;
    };
    order(1).await;
    declare("{ type = \"text\", optional = true, redact = \"hash\" }").await;
    // The listing that is under way may have the former declaration.
    order(2).await;
    scene.s3.put(BUCKET, "b/1.jsonl", lines(10));
    order(3).await;
    assert!(database.drop_dataset("notes").await.unwrap());
    order(4).await;
    scene.s3.put(BUCKET, "b/2.jsonl", lines(10));
    order(5).await;
    scene.shutdown.soft.cancel();
    let report = ended(fetcher).await;
    assert_eq!((report.objects.len(), report.skipped.unreadable()), (5, 2), "{report}");
}
