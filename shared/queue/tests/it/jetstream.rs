//! The JetStream queue beyond the port's contract.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{self, consumer::pull, stream};
use bytes::Bytes;
use futures::{StreamExt, future::join_all};
use jetline_queue::{Chunk, Error, JetStreamConfig, Queue};
use jetline_testkit::nats;

use crate::fixtures::{
    TIMEOUT, await_pending, chunk, connect, jetstream, object, publish, publish_with_retries,
    receive, receive_one, settings, starts, within,
};

/// An administrator's client of the shared server.
async fn admin() -> jetstream::Context {
    let client = async_nats::connect(nats::shared().as_str()).await.unwrap();
    jetstream::new(client)
}

async fn stream(config: &JetStreamConfig) -> stream::Stream {
    admin().await.get_stream(&config.nats_stream).await.unwrap()
}

fn large(start: u64) -> Chunk {
    Chunk { body: Bytes::from(vec![b'x'; 500_000]), ..chunk(start) }
}

#[tokio::test]
async fn full_stream_is_an_error_until_chunks_are_acknowledged() {
    let config = JetStreamConfig { nats_max_bytes: 1_200_000, ..settings("full") };
    let queue = jetstream(&nats::shared(), &config).await;
    publish(&queue, large(0)).await;
    publish(&queue, large(1)).await;
    let refused = queue.publish(large(2)).await.unwrap().await;
    assert!(matches!(refused, Err(Error::Full)), "{refused:?}");

    receive_one(&queue).await.ack().await.unwrap();
    publish_with_retries(&queue, large(2)).await;
    assert_eq!(starts(&receive(&queue, 2).await), [1, 2]);
}

#[tokio::test]
async fn repeated_publication_of_one_read_attempt_is_stored_once() {
    let queue = jetstream(&nats::shared(), &settings("once")).await;
    publish(&queue, chunk(0)).await;
    publish(&queue, chunk(0)).await;
    assert_eq!(queue.pending(&[object(7)]).await.unwrap(), [1]);
}

#[tokio::test]
async fn malformed_message_is_discarded() {
    let config = settings("malformed");
    let queue = jetstream(&nats::shared(), &config).await;
    let subject = format!("{}.chunks.products.7", config.nats_stream);
    let admin = admin().await;
    for _ in 0..2 {
        let sent = admin.publish(subject.clone(), "not ours".into()).await;
        sent.unwrap().await.unwrap();
    }
    publish(&queue, chunk(0)).await;
    let delivery = receive_one(&queue).await;
    assert_eq!(delivery.chunk, chunk(0));
    delivery.ack().await.unwrap();
    await_pending(&queue, 7, 0).await;
}

#[tokio::test]
async fn writers_share_the_chunks_and_each_goes_to_one() {
    let config = settings("share");
    let url = nats::shared();
    let queues = join_all((0..3).map(|_| jetstream(&url, &config))).await;
    for start in 0..60 {
        publish(&queues[0], chunk(start)).await;
    }
    let mut seen = HashMap::new();
    for queue in queues.iter().cycle().take(30) {
        for delivery in receive(queue, 2).await {
            *seen.entry(delivery.chunk.start).or_insert(0) += 1;
            delivery.ack().await.unwrap();
        }
    }
    assert_eq!(seen.len(), 60);
    assert!(seen.values().all(|times| *times == 1));
}

#[tokio::test]
async fn busy_receiver_holds_only_the_chunks_that_it_returned() {
    let config = settings("busy");
    let queue = jetstream(&nats::shared(), &config).await;
    let other = jetstream(&nats::shared(), &config).await;
    for start in 0..20 {
        publish(&queue, chunk(start)).await;
    }
    let held = within(queue.receive(4)).await.unwrap();
    let rest = receive(&other, 20 - held.len()).await;
    assert!(rest.iter().all(|delivery| delivery.attempt == 1));
}

#[tokio::test]
async fn acknowledgements_arrive_if_the_queue_is_dropped_right_after() {
    let config = JetStreamConfig { nats_ack_wait: TIMEOUT * 2, ..settings("last") };
    let publisher = jetstream(&nats::shared(), &config).await;
    for start in 0..50 {
        publish(&publisher, chunk(start)).await;
    }
    let queue = jetstream(&nats::shared(), &config).await;
    for delivery in receive(&queue, 50).await {
        delivery.ack().await.unwrap();
    }
    drop(queue);
    await_pending(&publisher, 7, 0).await;
}

#[tokio::test]
async fn existing_stream_and_consumer_are_updated_and_keep_their_messages() {
    let old = settings("update");
    let queue = jetstream(&nats::shared(), &old).await;
    publish(&queue, chunk(0)).await;

    let new = JetStreamConfig {
        nats_max_bytes: 30_000_000,
        nats_ack_wait: Duration::from_secs(9),
        ..old
    };
    let queue = jetstream(&nats::shared(), &new).await;
    let stream = stream(&new).await;
    assert_eq!(stream.cached_info().config.max_bytes, 30_000_000);
    let consumer = stream.consumer_info("writers").await.unwrap();
    assert_eq!(consumer.config.ack_wait, Duration::from_secs(9));
    assert_eq!(receive_one(&queue).await.chunk, chunk(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_create_one_stream() {
    for round in 0..20 {
        let config = settings(&format!("together{round}"));
        let start = |config: JetStreamConfig| async move {
            connect(&nats::shared(), &config).await.map(drop)
        };
        let starts = (0..6).map(|_| tokio::spawn(start(config.clone())));
        for started in join_all(starts.collect::<Vec<_>>()).await {
            started.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn stream_of_another_kind_is_refused_with_the_reason() {
    let config = settings("foreign");
    let foreign = stream::Config {
        name: config.nats_stream.clone(),
        subjects: vec![format!("{}.other", config.nats_stream)],
        ..stream::Config::default()
    };
    admin().await.create_stream(foreign).await.unwrap();
    let error = connect(&nats::shared(), &config).await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("create the stream"), "{error}");
}

#[tokio::test]
async fn stream_with_overlapping_subjects_is_refused_with_the_reason() {
    let config = settings("overlap");
    let foreign = stream::Config {
        name: format!("{}-foreign", config.nats_stream),
        subjects: vec![format!("{}.>", config.nats_stream)],
        ..stream::Config::default()
    };
    admin().await.create_stream(foreign).await.unwrap();
    let error = connect(&nats::shared(), &config).await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("create the stream"), "{error}");
}

#[tokio::test]
async fn consumer_that_delivers_nothing_is_replaced() {
    let config = settings("stuck");
    let queue = jetstream(&nats::shared(), &config).await;
    publish(&queue, chunk(0)).await;
    let stream = stream(&config).await;
    stream.delete_consumer("writers").await.unwrap();
    // Responds like our consumer, but its filter excludes all messages.
    let stuck = pull::Config {
        durable_name: Some("writers".to_owned()),
        filter_subject: format!("{}.chunks.none", config.nats_stream),
        ..pull::Config::default()
    };
    stream.create_consumer(stuck).await.unwrap();

    assert_eq!(receive_one(&queue).await.chunk, chunk(0));
    let consumer = stream.consumer_info("writers").await.unwrap();
    assert_eq!(consumer.config.filter_subject, "");
}

#[tokio::test]
async fn deleted_consumer_is_created_again_by_a_waiting_receiver() {
    let config = settings("consumer");
    let queue = jetstream(&nats::shared(), &config).await;
    let stream = stream(&config).await;
    let (received, ()) = tokio::join!(receive_one(&queue), async {
        waiting(&stream).await;
        stream.delete_consumer("writers").await.unwrap();
        publish(&queue, chunk(0)).await;
    });
    assert_eq!(received.chunk, chunk(0));
}

#[tokio::test]
async fn deleted_stream_is_created_again_by_publisher_and_receiver() {
    let config = settings("deleted");
    let queue = jetstream(&nats::shared(), &config).await;
    let admin = admin().await;
    publish(&queue, chunk(0)).await;
    receive_one(&queue).await.ack().await.unwrap();

    admin.delete_stream(&config.nats_stream).await.unwrap();
    publish_with_retries(&queue, chunk(1)).await;
    assert_eq!(receive_one(&queue).await.chunk, chunk(1));

    admin.delete_stream(&config.nats_stream).await.unwrap();
    assert_eq!(queue.pending(&[object(7)]).await.unwrap(), [0]);
    let receiver = async {
        let received = within(queue.receive(1)).await.unwrap();
        assert_eq!(starts(&received), [2]);
    };
    tokio::join!(receiver, async {
        // Only the receiver creates the stream.
        crate::fixtures::eventually("the stream exists", async || {
            admin.get_stream(&config.nats_stream).await.is_ok()
        })
        .await;
        publish_with_retries(&queue, chunk(2)).await;
    });
}

/// Another subscriber of the subject prevents the response that there is no stream.
#[tokio::test]
async fn publisher_without_a_response_creates_the_missing_stream() {
    let config = settings("silent");
    let queue = jetstream(&nats::shared(), &config).await;
    let admin = admin().await;
    let client = async_nats::connect(nats::shared().as_str()).await.unwrap();
    let subjects = format!("{}.chunks.>", config.nats_stream);
    let mut listener = client.subscribe(subjects).await.unwrap();
    client.flush().await.unwrap();
    admin.delete_stream(&config.nats_stream).await.unwrap();

    let sent = queue.publish(chunk(0)).await.unwrap();
    within(listener.next()).await.unwrap();
    let error = within(sent).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(admin.get_stream(&config.nats_stream).await.is_ok());
    publish(&queue, chunk(0)).await;
    assert_eq!(receive_one(&queue).await.chunk, chunk(0));
}

/// Waits until a pull request is waiting at the consumer.
async fn waiting(stream: &stream::Stream) {
    crate::fixtures::eventually("a receiver waits", async || {
        let info = stream.consumer_info("writers").await;
        info.is_ok_and(|info| info.num_waiting > 0)
    })
    .await;
}
