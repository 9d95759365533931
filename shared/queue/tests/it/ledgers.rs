//! Two ledgers in one stream, by mistake.

use std::time::Duration;

use jetline_queue::{JetStream, JetStreamConfig};
use jetline_records::LedgerIdentity;
use jetline_testkit::nats;
use tokio::time::timeout;

use crate::fixtures::{await_pending, chunk, jetstream, publish, receive_one, settings};
use jetline_queue::Queue;

async fn of(ledger: &str, config: &JetStreamConfig) -> JetStream {
    let identity = LedgerIdentity::new(ledger, "shop");
    JetStream::connect(&[nats::shared()], config, Some(identity))
        .await
        .unwrap()
}

/// Receives nothing, for ever.
async fn receives_nothing(queue: &JetStream) {
    match queue.receive(1).await {
        Ok(_) => panic!("a chunk of another ledger was received"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn chunk_of_another_ledger_is_left_to_its_own_writers() {
    let config = settings("theirs");
    let (ours, theirs) = (of("a1", &config).await, of("b2", &config).await);
    publish(&theirs, chunk(0)).await;
    // They have it first, and do nothing with it.
    let first = timeout(Duration::from_secs(1), receives_nothing(&ours)).await;
    assert!(first.is_err());
    let delivery = receive_one(&theirs).await;
    assert_eq!(delivery.chunk, chunk(0));
    delivery.ack().await.unwrap();
    await_pending(&ours, 7, 0).await;
}

#[tokio::test]
async fn chunk_of_a_ledger_that_has_no_writers_any_more_is_discarded() {
    let config = settings("nobodys");
    let (ours, theirs) = (of("a1", &config).await, of("b2", &config).await);
    publish(&theirs, chunk(0)).await;
    tokio::select! {
        () = await_pending(&theirs, 7, 0) => {}
        () = receives_nothing(&ours) => {}
    }
}

#[tokio::test]
async fn chunk_that_does_not_say_whose_it_is_is_received() {
    let config = settings("old");
    let (ours, old) = (
        of("a1", &config).await,
        jetstream(&nats::shared(), &config).await,
    );
    publish(&old, chunk(0)).await;
    let delivery = receive_one(&ours).await;
    assert_eq!(delivery.chunk, chunk(0));
    delivery.ack().await.unwrap();
    publish(&ours, chunk(1)).await;
    assert_eq!(receive_one(&old).await.chunk, chunk(1));
}
