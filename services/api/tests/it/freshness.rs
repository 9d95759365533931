//! The age of cached responses.

use std::time::{Duration, Instant};

use chrono::Utc;
use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::fixtures::{TestApi, metric_of_products, settings};

/// Every commit is visible to requests after this time.
const PROMISE: Duration = Duration::from_secs(1);

/// Clients that request the same id without a pause.
const READERS: usize = 4;

/// A commit, and when it was acknowledged.
struct Commit {
    price: u32,
    acknowledged: Instant,
}

/// The price in a response, 0 where there was no record, and when the request was sent.
struct Response {
    sent: Instant,
    price: u32,
}

async fn read(base: &TestApi) -> Response {
    let sent = Instant::now();
    let answer = base.get("/products/1").await;
    let price = match answer.status {
        200 => answer.raw("price").parse().unwrap(),
        404 => 0,
        status => panic!("{status}: {}", answer.body),
    };
    Response { sent, price }
}

/// Sends requests until one is sent later after `commit` than promised; returns all responses.
async fn read_until_after(base: &TestApi, commit: Instant) -> Vec<Response> {
    let mut responses = Vec::new();
    loop {
        let response = read(base).await;
        let is_beyond = response.sent > commit + PROMISE;
        responses.push(response);
        if is_beyond {
            return responses;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_record_is_never_older_than_promised() {
    let mut settings = settings();
    settings.cache_time = PROMISE;
    let base = TestApi::postgres_with(&settings).await;
    // That there is no record is cached as well.
    assert_eq!(read(&base).await.price, 0);
    for price in 1..=3 {
        if price == 1 {
            base.store(1, "1", Utc::now()).await;
        } else {
            let update = "UPDATE products SET price = $1 WHERE id = 1";
            base.execute(update, [i64::from(price).into()]).await;
        }
        let commit = Commit { price, acknowledged: Instant::now() };
        let readers = (0..READERS).map(|_| {
            let (base, acknowledged) = (base.clone(), commit.acknowledged);
            tokio::spawn(async move { read_until_after(&base, acknowledged).await })
        });
        for responses in join_all(readers).await {
            for response in responses.unwrap() {
                let age = response.sent - commit.acknowledged;
                assert!(
                    response.price == commit.price || age <= PROMISE,
                    "{age:?} after {} was committed, {} was read",
                    commit.price,
                    response.price
                );
            }
        }
    }
}

#[tokio::test]
async fn cached_record_is_served_until_it_expires() {
    let mut settings = settings();
    settings.cache_time = Duration::from_hours(1);
    for base in TestApi::both_with(&settings).await {
        let tag = base.store(1, "1", Utc::now()).await;
        let first = base.get("/products/1").await;
        base.get("/products/2").await.problem(404);
        base.execute("UPDATE products SET price = 7", []).await;
        base.store(2, "2", Utc::now()).await;

        let again = base.get("/products/1").await;
        assert_eq!(again.body, first.body);
        for header in ["etag", "cache-control", "content-type"] {
            assert_eq!(again.header(header), first.header(header), "{header}");
        }
        let tag = format!("\"{tag}\"");
        let same = base.get_with("/products/1", &[("if-none-match", &tag)]).await;
        assert_eq!(same.status, 304);
        base.get("/products/2").await.problem(404);
        // Lists are not cached.
        let list = base.get("/products?id=1&id=2").await;
        assert_eq!(list.column("price"), [7, 2]);
    }
}

#[tokio::test]
async fn failure_is_not_cached() {
    let mut settings = settings();
    settings.cache_time = Duration::from_hours(1);
    let base = TestApi::sqlite_with(&settings).await;
    base.store(1, "1", Utc::now()).await;
    base.execute("ALTER TABLE products RENAME TO hidden", []).await;
    base.get("/products/1").await.problem(500);
    base.execute("ALTER TABLE hidden RENAME TO products", []).await;
    assert_eq!(base.get("/products/1").await.status, 200);
}

#[tokio::test]
async fn waiting_requests_for_the_same_id_are_loaded_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // The runtime of this test has one thread, which is this one.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let base = TestApi::sqlite().await;
    base.store(1, "1", Utc::now()).await;
    let asks = (0..256).map(|_| base.get("/products/1"));
    for answer in join_all(asks).await {
        assert_eq!(answer.status, 200);
    }
    let of = |name: &str| metric_of_products(&recorder, name);
    assert_eq!(of("jetline_api_batch_ids_sum"), of("jetline_api_batch_ids_count"));
}
