//! Metrics for alerts and graphs: present from the start, and correct during a load.

use std::{net::SocketAddr, ops::RangeBounds};

use jetline_oracle::catalogue::lines;

use jetline_testkit::http;

use crate::{deployment::Deployment, wait::until};

const LOADING: &str = "jetline_objects_loading";
const WAITING: &str = r#"jetline_queue_chunks{state="waiting"}"#;
const IN_FLIGHT: &str = r#"jetline_queue_chunks{state="in_flight"}"#;

/// The value of a metric with labels in Prometheus' text format.
pub(crate) async fn value(address: SocketAddr, metric: &str) -> Option<u64> {
    let shown = http::get(address, "/metrics", &[]).await.unwrap().body;
    let mut lines = shown.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, value) = lines.find(|(name, _)| *name == metric)?;
    value.parse().ok()
}

async fn becomes(address: SocketAddr, metric: &str, wanted: impl RangeBounds<u64>) {
    until(metric, async || value(address, metric).await.filter(|value| wanted.contains(value)))
        .await;
}

#[tokio::test]
async fn waiting_chunks_and_objects_are_counted_and_the_failure_counter_starts_at_zero() {
    let mut deployment = Deployment::shared("metrics").await;
    deployment.set("WATCH", "1h");
    let content = String::from_utf8(lines(1, 200, 60)).unwrap();
    let content = content.replacen('{', r#"{"colour":"red","#, 1);
    deployment.put("a.jsonl", 0, content.as_bytes());
    let (_writer, writer) = deployment.serve("jetline-writer").await;
    becomes(writer, WAITING, 0..=0).await;
    let gate = deployment.ledger.close_products().await.unwrap();
    let (_fetcher, fetcher) = deployment.serve("jetline-fetcher").await;
    becomes(fetcher, LOADING, 1..=1).await;
    // Two workers have up to two chunks each.
    becomes(writer, IN_FLIGHT, 1..=4).await;
    becomes(writer, WAITING, 5..).await;

    gate.rollback().await.unwrap();
    becomes(fetcher, LOADING, 0..=0).await;
    becomes(writer, IN_FLIGHT, 0..=0).await;
    becomes(writer, WAITING, 0..=0).await;
    for (address, counter) in [
        (fetcher, r#"jetline_objects_total{state="failed"}"#),
        (fetcher, r#"jetline_retries_total{part="source"}"#),
        (writer, r#"jetline_retries_total{part="database"}"#),
        (writer, r#"jetline_lines_total{dataset="products",outcome="rejected"}"#),
        (writer, "jetline_chunks_repeated_total"),
    ] {
        assert_eq!(value(address, counter).await, Some(0), "{counter}");
    }
    becomes(fetcher, r#"jetline_unknown_fields{dataset="products"}"#, 1..=1).await;
    let done = r#"jetline_objects_total{state="done"}"#;
    assert_eq!(value(fetcher, done).await, Some(1));
}
