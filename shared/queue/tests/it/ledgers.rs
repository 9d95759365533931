//! Two ledgers share a stream by mistake.

use std::{future::ready, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jetline_core::LedgerIdentity;
use jetline_queue::{JetStream, JetStreamConfig, OwnLedger};
use jetline_testkit::nats;
use tokio::{sync::watch, time::timeout};

use crate::fixtures::{
    await_pending, chunk, jetstream, object, publish, receive_one, settings, within,
};
use jetline_queue::Queue;

fn identity(ledger: &str) -> LedgerIdentity {
    LedgerIdentity::new(ledger, "shop")
}

async fn of(ledger: &'static str, config: &JetStreamConfig) -> JetStream {
    asking(ledger, config, move || Some(identity(ledger))).await
}

/// A queue of a ledger with the given identities in sequence.
async fn asking(
    ledger: &str,
    config: &JetStreamConfig,
    answer: impl Fn() -> Option<LedgerIdentity> + Send + Sync + 'static,
) -> JetStream {
    let ask = move || Box::pin(ready(answer())) as BoxFuture<'static, _>;
    let ledger = Arc::new(OwnLedger::new(identity(ledger), ask));
    JetStream::connect(&[nats::shared()], config, Some(ledger)).await.unwrap()
}

/// Never receives a chunk.
async fn receives_nothing(queue: &JetStream) {
    match queue.receive(1).await {
        Ok(_) => panic!("a chunk of another ledger was received"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn chunk_of_another_ledger_is_left_to_its_writers() {
    let config = settings("theirs");
    let (ours, theirs) = (of("a1", &config).await, of("b2", &config).await);
    publish(&theirs, chunk(0)).await;
    // It is delivered there first and not acknowledged.
    let first = timeout(Duration::from_secs(1), receives_nothing(&ours)).await;
    assert!(first.is_err());
    let delivery = receive_one(&theirs).await;
    assert_eq!(delivery.chunk, chunk(0));
    delivery.ack().await.unwrap();
    await_pending(&ours, 7, 0).await;
}

#[tokio::test]
async fn chunk_of_a_ledger_without_writers_is_discarded() {
    let config = settings("nobodys");
    let (ours, theirs) = (of("a1", &config).await, of("b2", &config).await);
    publish(&theirs, chunk(0)).await;
    tokio::select! {
        () = await_pending(&theirs, 7, 0) => {}
        () = receives_nothing(&ours) => {}
    }
}

#[tokio::test]
async fn chunk_of_a_ledger_that_was_created_again_is_received() {
    let config = settings("restarted");
    let writer = asking("a1", &config, || Some(identity("b2"))).await;
    let fetcher = of("b2", &config).await;
    publish(&fetcher, chunk(0)).await;
    let delivery = receive_one(&writer).await;
    assert_eq!((delivery.attempt, &delivery.chunk), (1, &chunk(0)));
    delivery.ack().await.unwrap();
}

#[tokio::test]
async fn fetcher_publishes_for_a_ledger_that_was_created_again() {
    let config = settings("lost");
    let fetcher = asking("a1", &config, || Some(identity("b2"))).await;
    let writer = of("b2", &config).await;
    assert_eq!(fetcher.pending(&[object(7)]).await.unwrap(), [0]);
    publish(&fetcher, chunk(0)).await;
    assert_eq!(receive_one(&writer).await.attempt, 1);
}

#[tokio::test]
async fn chunk_is_not_discarded_while_the_own_identity_is_unknown() {
    let config = settings("unavailable");
    let (asked, mut times) = watch::channel(0);
    let ours = asking("a1", &config, move || {
        asked.send_modify(|times| *times += 1);
        None
    })
    .await;
    let theirs = of("b2", &config).await;
    publish(&theirs, chunk(0)).await;
    tokio::select! {
        // More often than a chunk of a known other ledger is left alone.
        asked = within(times.wait_for(|times| *times > 6)) => drop(asked.unwrap()),
        () = receives_nothing(&ours) => {}
    }
    assert_eq!(theirs.pending(&[object(7)]).await.unwrap(), [1]);
}

#[tokio::test]
async fn chunk_without_a_ledger_is_received() {
    let config = settings("old");
    let (ours, old) = (of("a1", &config).await, jetstream(&nats::shared(), &config).await);
    publish(&old, chunk(0)).await;
    let delivery = receive_one(&ours).await;
    assert_eq!(delivery.chunk, chunk(0));
    delivery.ack().await.unwrap();
    publish(&ours, chunk(1)).await;
    assert_eq!(receive_one(&old).await.chunk, chunk(1));
}
