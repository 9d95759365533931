//! A server whose store is damaged: it goes on after a while, with what is published again.

use std::time::Duration;

use async_nats::jetstream;
use jetline_queue::{JetStream, JetStreamConfig, Queue};
use jetline_testkit::nats::{NatsDamage, NatsServer};
use tokio::time::{Instant, sleep, timeout};

use crate::fixtures::{
    PATIENCE, chunk, jetstream, publish, publish_at_last, receive, receive_one, settings,
};

const CHUNKS: u64 = 40;

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
    // The server writes down now and then what it has delivered.
    sleep(Duration::from_millis(500)).await;
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
    tokio::select! {
        received = timeout(PATIENCE * 4, receive_all(&queue, &[0, 1, 2])) => {
            received.expect("nothing is delivered any more");
        }
        () = publish_what_is_lost(&queue) => {}
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

#[tokio::test]
async fn nothing_is_replaced_while_another_receiver_reports_progress() {
    let server = NatsServer::start().unwrap();
    let config = JetStreamConfig {
        nats_ack_wait: Duration::from_secs(2),
        ..settings("working")
    };
    let (working, idle) = (
        jetstream(&server.url(), &config).await,
        jetstream(&server.url(), &config).await,
    );
    publish(&working, chunk(0)).await;
    let client = async_nats::connect(server.url().as_str()).await.unwrap();
    let stream = jetstream::new(client)
        .get_stream(&config.nats_stream)
        .await
        .unwrap();
    let made = async || stream.consumer_info("writers").await.unwrap().created;
    let before = made().await;
    let delivery = receive_one(&working).await;
    let work = async {
        let begin = Instant::now();
        // Longer than it takes until what nobody works on is replaced.
        while begin.elapsed() < Duration::from_secs(20) {
            delivery.progress().await.unwrap();
            sleep(Duration::from_millis(50)).await;
        }
    };
    // A machine that is too busy for progress in time gives it the chunk: then it has nothing to doubt.
    let wait = async {
        loop {
            let _given_back = idle.receive(1).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = wait => {}
    }
    assert_eq!(made().await, before);
}
