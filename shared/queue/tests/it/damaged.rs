//! A server whose store is damaged: the queue recovers after a while, and lost chunks are published again.

use std::{fs, time::Duration};

use async_nats::jetstream::{self, consumer};
use futures::{
    StreamExt,
    future::{join_all, select_all},
};
use jetline_queue::{JetStream, JetStreamConfig, Queue, ReceivedChunk};
use jetline_testkit::nats::{self, NatsDamage, NatsOptions, NatsServer};
use tokio::time::{sleep, timeout};

use crate::fixtures::{
    TIMEOUT, chunk, jetstream, publish, publish_with_retries, receive, receive_one, settings,
    within,
};

const CHUNKS: u64 = 40;

/// Idle receivers, and more checks of each than it takes to replace a stalled stream.
const IDLE_RECEIVERS: usize = 3;
const CHECKS: usize = 4;

/// A server with acknowledged, in-flight and waiting chunks.
async fn busy(config: &JetStreamConfig) -> (NatsServer, JetStream) {
    let server = NatsServer::start().unwrap();
    let queue = jetstream(&server.url(), config).await;
    for start in 0..CHUNKS {
        publish(&queue, chunk(start)).await;
    }
    let mut received = receive(&queue, 30).await;
    for delivery in received.drain(..10) {
        delivery.ack().await.unwrap();
    }
    (server, queue)
}

/// Publishes again what is lost, as a fetcher does: when the queue holds nothing of the object.
async fn publish_lost_chunks(queue: &JetStream) {
    loop {
        if queue.pending(&[chunk(0).object]).await.ok() == Some(vec![0]) {
            for start in 0..3 {
                publish_with_retries(queue, chunk(start)).await;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Receives and acknowledges until these chunks were received.
async fn receive_all(queue: &JetStream, starts: &[u64]) {
    let mut missing = starts.to_vec();
    while !missing.is_empty() {
        // An error means that the server does not respond: receivers retry.
        let Ok(received) = queue.receive(10).await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        for delivery in received {
            missing.retain(|start| *start != delivery.chunk.start);
            delivery.ack().await.unwrap();
        }
    }
}

async fn recovers_after(damage: NatsDamage) {
    let (mut server, queue) = busy(&settings("damaged")).await;
    server.damage_and_restart(damage).unwrap();
    recovers(&queue).await;
}

async fn recovers(queue: &JetStream) {
    tokio::select! {
        received = timeout(TIMEOUT * 4, receive_all(queue, &[0, 1, 2])) => {
            received.expect("nothing is delivered any more");
        }
        () = publish_lost_chunks(queue) => {}
    }
}

#[tokio::test]
async fn stream_with_unreadable_messages_is_replaced() {
    recovers_after(NatsDamage::Messages).await;
}

#[tokio::test]
async fn consumer_with_unreadable_state_is_replaced() {
    recovers_after(NatsDamage::Consumers).await;
}

/// Only a new stream helps if a consumer's directory cannot be created.
#[tokio::test]
async fn starting_program_replaces_a_stream_without_a_consumer() {
    let store = tempfile::tempdir().unwrap();
    let options = NatsOptions { store: Some(store.path().to_owned()), ..NatsOptions::default() };
    let mut server = NatsServer::start_with(options).unwrap();
    let config = settings("start");
    publish(&jetstream(&server.url(), &config).await, chunk(0)).await;
    server.stop();
    let stream = store.path().join("jetstream/$G/streams").join(&config.nats_stream);
    let consumer = stream.join("obs/writers");
    fs::remove_dir_all(&consumer).unwrap();
    fs::write(&consumer, "not a directory").unwrap();
    server.restart().unwrap();
    recovers(&jetstream(&server.url(), &config).await).await;
}

/// Every idle receiver sends a probe with each check.
async fn nothing_is_replaced_while_progress_is_reported(
    name: &str,
    report: impl AsyncFn(&ReceivedChunk, &async_nats::Client, &str),
) {
    let (url, config) = (nats::shared(), settings(name));
    let working = jetstream(&url, &config).await;
    let idle = join_all((0..IDLE_RECEIVERS).map(|_| jetstream(&url, &config))).await;
    publish(&working, chunk(0)).await;
    let client = async_nats::connect(url.as_str()).await.unwrap();
    let name = &config.nats_stream;
    let stream = jetstream::new(client.clone()).get_stream(name).await;
    let stream = stream.unwrap();
    let before = stream.consumer_info("writers").await.unwrap();
    // The chunk is not redelivered, however busy the machine is.
    let patient = consumer::Config { ack_wait: Duration::from_hours(1), ..before.config };
    stream.create_consumer(patient).await.unwrap();
    let delivery = receive_one(&working).await;
    let subject = format!("$JS.ACK.{name}.writers.probe");
    let mut probes = client.subscribe(subject).await.unwrap();
    let looks = async {
        for _ in 0..CHECKS {
            for _ in 0..IDLE_RECEIVERS {
                probes.next().await.unwrap();
            }
            report(&delivery, &client, name).await;
        }
    };
    tokio::select! {
        () = within(looks) => {}
        _ = select_all(idle.iter().map(|queue| queue.receive(1))) => panic!("the chunk was redelivered"),
    }
    let after = stream.consumer_info("writers").await.unwrap();
    assert_eq!(after.created, before.created);
}

#[tokio::test]
async fn nothing_is_replaced_while_one_of_several_receivers_reports_progress() {
    let report =
        async |delivery: &ReceivedChunk, _: &_, _: &str| delivery.progress().await.unwrap();
    nothing_is_replaced_while_progress_is_reported("working", report).await;
}

#[tokio::test]
async fn progress_with_domain_and_account_is_observed() {
    let report = async |_: &_, client: &async_nats::Client, stream: &str| {
        let subject = format!("$JS.ACK.hub.AbCd1234.{stream}.writers.1.1.1.1.0");
        client.publish(subject, "+WPI".into()).await.unwrap();
    };
    nothing_is_replaced_while_progress_is_reported("domain", report).await;
}
