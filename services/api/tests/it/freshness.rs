//! How old an answer may be, and what is asked for once.

use std::time::{Duration, Instant};

use chrono::Utc;
use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::base::{Base, settings};

/// What the writer has committed is what everybody gets who asks this much later.
const PROMISE: Duration = Duration::from_secs(1);

/// Clients that ask for the same id without a pause.
const READERS: usize = 4;

/// A commit, and when it was acknowledged.
struct Commit {
    price: u32,
    acknowledged: Instant,
}

/// What a reader got, and when it asked. 0 where there was no record.
struct Reading {
    sent: Instant,
    price: u32,
}

async fn read(base: &Base) -> Reading {
    let sent = Instant::now();
    let answer = base.get("/products/1").await;
    let price = match answer.status {
        200 => answer.raw("price").parse().unwrap(),
        404 => 0,
        status => panic!("{status}: {}", answer.body),
    };
    Reading { sent, price }
}

/// Reads until something was asked for later after `commit` than promised; says all that was read.
async fn read_beyond(base: &Base, commit: Instant) -> Vec<Reading> {
    let mut readings = Vec::new();
    loop {
        let reading = read(base).await;
        let is_beyond = reading.sent > commit + PROMISE;
        readings.push(reading);
        if is_beyond {
            return readings;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_record_is_never_older_than_promised() {
    let mut settings = settings();
    settings.cache_time = PROMISE;
    let base = Base::postgres_with(&settings).await;
    // That there is none becomes hot as well.
    assert_eq!(read(&base).await.price, 0);
    for price in 1..=3 {
        if price == 1 {
            base.store(1, "1", Utc::now()).await;
        } else {
            let update = "UPDATE products SET price = $1 WHERE id = 1";
            base.execute(update, [i64::from(price).into()]).await;
        }
        let commit = Commit {
            price,
            acknowledged: Instant::now(),
        };
        let readers = (0..READERS).map(|_| {
            let (base, acknowledged) = (base.clone(), commit.acknowledged);
            tokio::spawn(async move { read_beyond(&base, acknowledged).await })
        });
        for readings in join_all(readers).await {
            for reading in readings.unwrap() {
                let age = reading.sent - commit.acknowledged;
                assert!(
                    reading.price == commit.price || age <= PROMISE,
                    "{age:?} after {} was committed, {} was read",
                    commit.price,
                    reading.price
                );
            }
        }
    }
}

#[tokio::test]
async fn what_was_read_a_moment_ago_is_not_read_again_until_its_time_is_over() {
    let mut settings = settings();
    settings.cache_time = Duration::from_hours(1);
    for base in [
        Base::sqlite_with(&settings).await,
        Base::postgres_with(&settings).await,
    ] {
        let tag = base.store(1, "1", Utc::now()).await;
        let first = base.get("/products/1").await;
        base.get("/products/2").await.problem(404);
        base.execute("UPDATE products SET price = 7", []).await;
        base.store(2, "2", Utc::now()).await;

        let again = base.get("/products/1").await;
        assert_eq!(again.body, first.body);
        for header in ["etag", "last-modified", "cache-control", "content-type"] {
            assert_eq!(again.header(header), first.header(header), "{header}");
        }
        let tag = format!("\"{tag}\"");
        let same = base
            .get_with("/products/1", &[("if-none-match", &tag)])
            .await;
        assert_eq!(same.status, 304);
        base.get("/products/2").await.problem(404);
        // Several at once are always asked for.
        let list = base.get("/products?id=1&id=2").await;
        assert_eq!(list.column("price"), [7, 2]);
    }
}

#[tokio::test]
async fn failure_is_not_kept() {
    let mut settings = settings();
    settings.cache_time = Duration::from_hours(1);
    let base = Base::sqlite_with(&settings).await;
    base.store(1, "1", Utc::now()).await;
    base.execute("ALTER TABLE products RENAME TO hidden", [])
        .await;
    base.get("/products/1").await.problem(500);
    base.execute("ALTER TABLE hidden RENAME TO products", [])
        .await;
    assert_eq!(base.get("/products/1").await.status, 200);
}

#[tokio::test]
async fn of_those_who_wait_for_the_same_id_one_is_read() {
    let recorder = PrometheusBuilder::new().build_recorder();
    // The runtime of this test has one thread, which is this one.
    let _recording = metrics::set_default_local_recorder(&recorder);
    let base = Base::sqlite().await;
    base.store(1, "1", Utc::now()).await;
    let asks = (0..256).map(|_| base.get("/products/1"));
    for answer in join_all(asks).await {
        assert_eq!(answer.status, 200);
    }
    let text = recorder.handle().render();
    let of = |name: &str| -> u32 {
        let start = format!("{name}{{dataset=\"products\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    assert_eq!(
        of("jetline_api_batch_ids_sum"),
        of("jetline_api_batch_ids_count"),
        "{text}"
    );
}
