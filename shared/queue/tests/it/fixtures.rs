//! Chunks, queues and timeouts.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use clap::Parser;
use jetline_core::ObjectId;
use jetline_queue::{Chunk, Error, InProcess, JetStream, JetStreamConfig, Queue, ReceivedChunk};
use jetline_runtime::telemetry::TraceContext;
use jetline_testkit::nats;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

/// The timeout of everything that must happen.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// An empty queue of each adapter.
pub(crate) async fn queues(name: &str) -> Vec<(&'static str, Box<dyn Queue>)> {
    let jetstream = jetstream(&nats::shared(), &settings(name)).await;
    vec![("in process", Box::new(InProcess::new(8 << 20))), ("jetstream", Box::new(jetstream))]
}

/// Settings with a separate stream and the shortest acknowledgement wait.
pub(crate) fn settings(name: &str) -> JetStreamConfig {
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        queue: JetStreamConfig,
    }
    let stream = nats::unique_stream(name);
    let arguments = ["--nats-ack-wait", "1s", "--nats-max-bytes", "20000000"];
    Cli::parse_from([&["it", "--nats-stream", stream.as_str()], &arguments[..]].concat()).queue
}

pub(crate) async fn jetstream(url: &Url, settings: &JetStreamConfig) -> JetStream {
    connect(url, settings).await.unwrap()
}

pub(crate) async fn connect(url: &Url, settings: &JetStreamConfig) -> Result<JetStream, Error> {
    JetStream::connect(std::slice::from_ref(url), settings, None).await
}

pub(crate) fn object(number: i64) -> ObjectId {
    ObjectId::new(number).unwrap()
}

/// The chunk of one line at an offset of object 7.
pub(crate) fn chunk(start: u64) -> Chunk {
    Chunk {
        object: object(7),
        dataset: "products".to_owned(),
        declaration: 1,
        format: jetline_formats::Format::JsonLines,
        header: Bytes::new(),
        modified_at: None,
        is_redacted: false,
        start,
        end: start + 1,
        first_line: 1 + u32::try_from(start).unwrap(),
        lines: 1,
        oversized: false,
        settled: object(6),
        incarnation: "registration".to_owned(),
        read_attempt: "first".to_owned(),
        trace: TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"),
        body: Bytes::from(format!("{{\"id\":{start}}}\n")),
    }
}

/// Publishes and waits for the acknowledgement.
pub(crate) async fn publish(queue: &dyn Queue, chunk: Chunk) {
    queue.publish(chunk).await.unwrap().await.unwrap();
}

/// Publishes with retries, as a fetcher does.
pub(crate) async fn publish_with_retries(queue: &dyn Queue, chunk: Chunk) {
    eventually("the chunk is published", async || {
        let sent = match queue.publish(chunk.clone()).await {
            Ok(sent) => sent.await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => true,
            Err(Error::Full | Error::Unavailable { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}

/// Receives exactly `count` deliveries with retries, as a writer does.
pub(crate) async fn receive(queue: &dyn Queue, count: usize) -> Vec<ReceivedChunk> {
    let mut received = Vec::new();
    while received.len() < count {
        match within(queue.receive(count - received.len())).await {
            Ok(deliveries) => received.extend(deliveries),
            Err(Error::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    received
}

pub(crate) async fn receive_one(queue: &dyn Queue) -> ReceivedChunk {
    receive(queue, 1).await.remove(0)
}

/// Waits for the count, which lags behind acknowledgements.
pub(crate) async fn await_pending(queue: &dyn Queue, number: i64, count: u64) {
    eventually("the count of pending chunks is right", async || {
        queue.pending(&[object(number)]).await.ok() == Some(vec![count])
    })
    .await;
}

pub(crate) fn starts(deliveries: &[ReceivedChunk]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.chunk.start).collect()
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, future).await.expect("timeout")
}

pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < TIMEOUT, "timeout: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
