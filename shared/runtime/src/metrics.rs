//! The names of all metrics, and their recorder.

use std::time::Duration;

use anyhow::Context;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::Shutdown;

/// A number as the value of a gauge.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Lines committed; labels `dataset` and `outcome`: inserted, updated, deleted, unchanged, superseded, rejected.
pub const LINES: &str = "jetline_lines_total";
/// Rejected lines; labels `dataset` and `reason`.
pub const REJECTS: &str = "jetline_rejected_lines_total";
/// Bytes read from the source, as stored.
pub const READ_BYTES: &str = "jetline_read_bytes_total";
/// Bytes of lines in committed chunks.
pub const COMMITTED_BYTES: &str = "jetline_committed_bytes_total";
/// Objects that ended; label `state`: done, failed.
pub const OBJECTS: &str = "jetline_objects_total";
/// Chunks that the queue acknowledged to the fetcher.
pub const CHUNKS_PUBLISHED: &str = "jetline_chunks_published_total";
/// Chunks committed.
pub const CHUNKS_COMMITTED: &str = "jetline_chunks_committed_total";
/// Delivered chunks that were already committed.
pub const CHUNKS_REPEATED: &str = "jetline_chunks_repeated_total";
/// Chunks in the queue; label `state`: waiting, `in_flight`. Every consuming process reports the same value.
pub const QUEUE_CHUNKS: &str = "jetline_queue_chunks";
/// Objects of a fetcher's sources that are not yet done or failed.
pub const OBJECTS_LOADING: &str = "jetline_objects_loading";
/// Paths of fields that no column takes, in records of settled objects; label `dataset`.
pub const UNKNOWN_FIELDS: &str = "jetline_unknown_fields";
/// Bytes on disk of a table with its indexes; label `table`, which is `all` in SQLite.
pub const TABLE_BYTES: &str = "jetline_table_bytes";
/// Always 1; label `version`.
pub const BUILD_INFO: &str = "jetline_build_info";
/// Chunks in flight in a writer.
pub const CHUNKS_IN_FLIGHT: &str = "jetline_chunks_in_flight";
/// Time from the delivery of a chunk to its commit, in seconds.
pub const CHUNK_SECONDS: &str = "jetline_chunk_seconds";
/// Failed attempts that are retried; label `part`: source, queue, dedup, database.
pub const RETRIES: &str = "jetline_retries_total";
/// Dedup epochs begun by this process.
pub const EPOCHS: &str = "jetline_epochs_total";
/// Deliveries whose time has come, and changes that are not folded into any; labels `dataset` and `destination`. Every
/// courier reports the same value.
pub const DELIVERIES_DUE: &str = "jetline_deliveries_due";
/// How long the oldest of them is due, in seconds; labels `dataset` and `destination`.
pub const DELIVERY_OLDEST_DUE: &str = "jetline_delivery_oldest_due_seconds";
/// Attempts to deliver a change; labels `dataset`, `destination` and `outcome`: delivered, failed, dead, released.
pub const DELIVERY_ATTEMPTS: &str = "jetline_delivery_attempts_total";
/// Time of a request to a destination, in seconds; labels `dataset` and `destination`.
pub const DELIVERY_SECONDS: &str = "jetline_delivery_seconds";
/// Requests served; labels `method`, `route` and `status`.
pub const API_REQUESTS: &str = "jetline_api_requests_total";
/// Time from a request's headers to its response, in seconds; label `route`.
pub const API_SECONDS: &str = "jetline_api_request_seconds";
/// Ids per statement; label `dataset`.
pub const API_BATCH_IDS: &str = "jetline_api_batch_ids";

const SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const IDS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Creates a counter: Prometheus' `increase()` does not see the first event of a counter that begins with it.
pub fn create_counter(name: &'static str, labels: &[(&'static str, &'static str)]) {
    metrics::counter!(name, labels).increment(0);
}

/// How often the recorder drains new samples into histograms; otherwise they accumulate while `/metrics` is not scraped.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Starts recording, until the hard shutdown. To be called once per process, in a tokio runtime.
pub fn install(shutdown: &Shutdown) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_ids".to_owned()), &IDS)?
        .install_recorder()
        .context("cannot start recording metrics")?;
    describe();
    tokio::spawn(upkeep(handle.clone(), shutdown.clone()));
    Ok(handle)
}

async fn upkeep(handle: PrometheusHandle, shutdown: Shutdown) {
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
    let process = Collector::default();
    process.describe();
    let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
    while shutdown.hard.run_until_cancelled(interval.tick()).await.is_some() {
        process.collect();
        handle.run_upkeep();
    }
}

fn describe() {
    describe_counter!(LINES, "Lines committed, by dataset and outcome");
    describe_counter!(REJECTS, "Rejected lines, by dataset and reason");
    describe_counter!(READ_BYTES, Unit::Bytes, "Bytes read from the source, as stored");
    describe_counter!(COMMITTED_BYTES, Unit::Bytes, "Bytes of lines in committed chunks");
    describe_counter!(OBJECTS, "Objects that ended, by state");
    describe_counter!(CHUNKS_PUBLISHED, "Chunks that the queue acknowledged");
    describe_counter!(CHUNKS_COMMITTED, "Chunks committed");
    describe_counter!(CHUNKS_REPEATED, "Delivered chunks that were already committed");
    describe_gauge!(QUEUE_CHUNKS, "Chunks in the queue, by state");
    describe_gauge!(OBJECTS_LOADING, "Objects that are not yet done or failed");
    describe_gauge!(UNKNOWN_FIELDS, "Paths of fields that no column takes, by dataset");
    describe_gauge!(TABLE_BYTES, Unit::Bytes, "Bytes on disk of a table with its indexes");
    describe_gauge!(BUILD_INFO, "The version of the program");
    describe_gauge!(CHUNKS_IN_FLIGHT, "Chunks in flight in a writer");
    describe_histogram!(
        CHUNK_SECONDS,
        Unit::Seconds,
        "Time from the delivery of a chunk to its commit"
    );
    describe_counter!(RETRIES, "Failed attempts that are retried, by part");
    describe_counter!(EPOCHS, "Dedup epochs begun by this process");
    describe_gauge!(DELIVERIES_DUE, "Deliveries whose time has come, by dataset and destination");
    describe_gauge!(
        DELIVERY_OLDEST_DUE,
        Unit::Seconds,
        "How long the oldest delivery is due, by dataset and destination"
    );
    describe_counter!(
        DELIVERY_ATTEMPTS,
        "Attempts to deliver a change, by dataset, destination and outcome"
    );
    describe_histogram!(
        DELIVERY_SECONDS,
        Unit::Seconds,
        "Time of a request to a destination, by dataset and destination"
    );
    describe_counter!(API_REQUESTS, "Requests served, by method, route and status");
    describe_histogram!(
        API_SECONDS,
        Unit::Seconds,
        "Time from a request's headers to its response, by route"
    );
    describe_histogram!(API_BATCH_IDS, "Ids per statement, by dataset");
}
