//! A server whose store is damaged: it goes on after a while, with what is published again.

use std::{fs, time::Duration};

use async_nats::jetstream::{self, consumer};
use futures::{
    StreamExt,
    future::{join_all, select_all},
};
use jetline_queue::{Delivery, JetStream, JetStreamConfig, Queue};
use jetline_testkit::nats::{self, NatsDamage, NatsOptions, NatsServer};
use tokio::time::{sleep, timeout};

use crate::fixtures::{
    PATIENCE, chunk, jetstream, publish, publish_at_last, receive, receive_one, settings, within,
};

const CHUNKS: u64 = 40;

/// Receivers that get nothing, and more looks of each than it takes until what nobody works on is replaced.
const IDLE: usize = 3;
const LOOKS: usize = 4;

/// A server of whose chunks some are acknowledged, some are in flight, and the others wait.
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

/// Publishes as a fetcher does what is lost: when the queue holds nothing of the object.
async fn publish_what_is_lost(queue: &JetStream) {
    loop {
        if queue.pending(chunk(0).object).await.ok() == Some(0) {
            for start in 0..3 {
                publish_at_last(queue, chunk(start)).await;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Receives and acknowledges until these chunks have come.
async fn receive_all(queue: &JetStream, starts: &[u64]) {
    let mut missing = starts.to_vec();
    while !missing.is_empty() {
        // An error says that the server is silent: whoever receives tries again.
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

async fn goes_on_after(damage: NatsDamage) {
    let (mut server, queue) = busy(&settings("damaged")).await;
    server.damage_and_restart(damage).unwrap();
    goes_on(&queue).await;
}

async fn goes_on(queue: &JetStream) {
    tokio::select! {
        received = timeout(PATIENCE * 4, receive_all(queue, &[0, 1, 2])) => {
            received.expect("nothing is delivered any more");
        }
        () = publish_what_is_lost(queue) => {}
    }
}

#[tokio::test]
async fn stream_whose_messages_cannot_be_read_is_replaced() {
    goes_on_after(NatsDamage::Messages).await;
}

#[tokio::test]
async fn consumer_whose_state_cannot_be_read_is_replaced() {
    goes_on_after(NatsDamage::Consumers).await;
}

/// Nothing but another stream helps where a consumer's directory cannot be made.
#[tokio::test]
async fn stream_that_takes_no_consumer_is_replaced_by_a_program_that_starts() {
    let store = tempfile::tempdir().unwrap();
    let options = NatsOptions {
        store: Some(store.path().to_owned()),
        ..NatsOptions::default()
    };
    let mut server = NatsServer::start_with(options).unwrap();
    let config = settings("start");
    publish(&jetstream(&server.url(), &config).await, chunk(0)).await;
    server.stop();
    let stream = store
        .path()
        .join("jetstream/$G/streams")
        .join(&config.nats_stream);
    let consumer = stream.join("obs/writers");
    fs::remove_dir_all(&consumer).unwrap();
    fs::write(&consumer, "not a directory").unwrap();
    server.restart().unwrap();
    goes_on(&jetstream(&server.url(), &config).await).await;
}

/// The receivers that get nothing send a probe each whenever they look, of which a report comes after all.
async fn nothing_is_replaced_while_progress_is_reported(
    name: &str,
    report: impl AsyncFn(&Delivery, &async_nats::Client, &str),
) {
    let (url, config) = (nats::shared(), settings(name));
    let working = jetstream(&url, &config).await;
    let idle = join_all((0..IDLE).map(|_| jetstream(&url, &config))).await;
    publish(&working, chunk(0)).await;
    let client = async_nats::connect(url.as_str()).await.unwrap();
    let name = &config.nats_stream;
    let stream = jetstream::new(client.clone()).get_stream(name).await;
    let stream = stream.unwrap();
    let before = stream.consumer_info("writers").await.unwrap();
    // However busy the machine is, the chunk is given to nobody else.
    let patient = consumer::Config {
        ack_wait: Duration::from_hours(1),
        ..before.config
    };
    stream.create_consumer(patient).await.unwrap();
    let delivery = receive_one(&working).await;
    let subject = format!("$JS.ACK.{name}.writers.probe");
    let mut probes = client.subscribe(subject).await.unwrap();
    let looks = async {
        for _ in 0..LOOKS {
            for _ in 0..IDLE {
                probes.next().await.unwrap();
            }
            report(&delivery, &client, name).await;
        }
    };
    tokio::select! {
        () = within(looks) => {}
        _ = select_all(idle.iter().map(|queue| queue.receive(1))) => panic!("the chunk is given to another one"),
    }
    let after = stream.consumer_info("writers").await.unwrap();
    assert_eq!(after.created, before.created);
}

#[tokio::test]
async fn nothing_is_replaced_while_one_of_several_receivers_reports_progress() {
    let report = async |delivery: &Delivery, _: &_, _: &str| delivery.progress().await.unwrap();
    nothing_is_replaced_while_progress_is_reported("working", report).await;
}

#[tokio::test]
async fn progress_is_heard_that_names_domain_and_account() {
    let report = async |_: &_, client: &async_nats::Client, stream: &str| {
        let subject = format!("$JS.ACK.hub.AbCd1234.{stream}.writers.1.1.1.1.0");
        client.publish(subject, "+WPI".into()).await.unwrap();
    };
    nothing_is_replaced_while_progress_is_reported("domain", report).await;
}
