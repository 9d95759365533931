//! A writer while a server is unavailable, and with chunks that are suspected of crashing writers.

use jetline_queue::{Chunk, Queue};
use jetline_store::entities::{chunks, objects};
use jetline_testkit::{
    postgres::{PostgresServer, TemporaryDatabase},
    redis::RedisServer,
};

use crate::{
    doubles::{CountingQueue, Gated},
    fixtures::{
        RunningWriter, database, dedup, dedup_at, drained, entries, epoch, eventually, ledger,
        object, product, publish, row_of, settle, title, titles,
    },
};

#[tokio::test]
async fn chunk_is_held_while_the_database_is_unavailable_and_then_committed() {
    let mut server = PostgresServer::start_with(&[("fsync", "off")]).unwrap();
    let database = TemporaryDatabase::create_on(&server).await;
    let ledger = ledger(&database).await;
    let (queue, dedup) = (CountingQueue::new(), dedup("unavailable").await);
    let first = object(&ledger, "1", &[&[product(1, "a")]]).await;
    let second = object(&ledger, "2", &[&[product(1, "b")]]).await;
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    publish(&*queue, &first).await;
    drained(&*queue, first[0].object).await;
    server.stop().unwrap();
    publish(&*queue, &second).await;
    held(&queue).await;
    server.start_again().unwrap();
    drained(&*queue, second[0].object).await;
    writer.stop().await;
    let again: Vec<_> = titles(&ledger).await.into_values().collect();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].0, "b");
}

#[tokio::test]
async fn chunk_of_an_unknown_declaration_is_held_while_the_database_is_unavailable() {
    let mut server = PostgresServer::start_with(&[("fsync", "off")]).unwrap();
    let database = TemporaryDatabase::create_on(&server).await;
    let ledger = ledger(&database).await;
    let (queue, dedup) = (CountingQueue::new(), dedup("unknown").await);
    let chunks = object(&ledger, "1", &[&[product(1, "a")], &[product(1, "b")]]).await;
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    publish(&*queue, &chunks[..1]).await;
    drained(&*queue, chunks[0].object).await;
    server.stop().unwrap();
    let unknown = Chunk { declaration: chunks[1].declaration + 1, ..chunks[1].clone() };
    publish(&*queue, &[unknown]).await;
    held(&queue).await;
    server.start_again().unwrap();
    drained(&*queue, chunks[1].object).await;
    writer.stop().await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("a"));
}

#[tokio::test]
async fn chunk_is_held_while_the_dedup_store_is_unavailable_and_then_committed() {
    let (_database, ledger) = database("no_dedup").await;
    let mut server = RedisServer::start().unwrap();
    let (queue, dedup) = (CountingQueue::new(), dedup_at(&server.url(), "p").await);
    let chunks = object(&ledger, "1", &[&[product(1, "a")], &[product(1, "b")]]).await;
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    publish(&*queue, &chunks[..1]).await;
    drained(&*queue, chunks[0].object).await;
    let before = epoch(&ledger).await;
    server.stop();
    publish(&*queue, &chunks[1..]).await;
    held(&queue).await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("a"));
    server.restart_empty().unwrap();
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("b"));
    assert_ne!(epoch(&ledger).await, before);
}

/// Waits until the writer has extended the acknowledgement deadline of its chunks several times.
async fn held(queue: &CountingQueue) {
    let before = queue.progress();
    eventually("the chunk is held", async || queue.progress() > before + 10).await;
}

#[tokio::test]
async fn soft_shutdown_finishes_what_is_in_flight() {
    let (_database, ledger) = database("soft").await;
    let queue = CountingQueue::new();
    let gated = Gated::new(dedup("soft").await, 1);
    let chunks = object(&ledger, "1", &[&[product(1, "a")]]).await;
    let writer = RunningWriter::start(queue.clone(), gated.clone(), &ledger);
    publish(&*queue, &chunks).await;
    eventually("the chunk is claimed", async || gated.log() == ["claim 1"]).await;
    writer.shutdown.soft.cancel();
    gated.open();
    writer.ended().await.unwrap();
    assert_eq!(queue.pending(&[chunks[0].object]).await.unwrap(), [0]);
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("a"));
}

#[tokio::test]
async fn suspected_chunk_is_tried_alone() {
    let (_database, ledger) = database("alone").await;
    let queue = CountingQueue::with_earlier_deliveries(3);
    let gated = Gated::new(dedup("alone").await, 1);
    let bodies = [[product(1, "a")], [product(2, "b")]];
    let chunks = object(&ledger, "1", &[&bodies[0], &bodies[1]]).await;
    let writer = RunningWriter::start(queue.clone(), gated.clone(), &ledger);
    publish(&*queue, &chunks[..1]).await;
    eventually("the chunk is claimed", async || gated.log() == ["claim 1"]).await;
    let noted = entries(&ledger).await;
    assert_eq!((noted[0].state, noted[0].attempts), (chunks::State::Suspect, 1));
    publish(&*queue, &chunks[1..]).await;
    eventually("the other worker has a chunk", async || queue.received() == 2).await;
    gated.open();
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    assert_eq!(gated.log(), ["claim 1", "through 1", "claim 2"]);
    let committed = entries(&ledger).await;
    assert!(committed.iter().all(|entry| entry.state == chunks::State::Committed));
}

#[tokio::test]
async fn chunk_that_crashed_its_writers_is_dead_and_its_object_fails_when_all_before_it_is_settled()
{
    let (_database, ledger) = database("dead").await;
    let (queue, dedup) = (CountingQueue::with_earlier_deliveries(3), dedup("dead").await);
    let below = object(&ledger, "1", &[&[product(1, "a")]]).await;
    let bodies = [[product(1, "dead")], [product(2, "b")]];
    let deadly = object(&ledger, "2", &[&bodies[0], &bodies[1]]).await;
    for _ in 0..2 {
        // As a writer that crashes afterwards.
        ledger.chunks.suspect(&deadly[0].range(), 2).await.unwrap();
    }
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    publish(&*queue, &deadly).await;
    drained(&*queue, deadly[0].object).await;
    let states: Vec<_> = entries(&ledger).await.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [chunks::State::Dead, chunks::State::Committed]);
    settle(&ledger).await;
    assert_eq!(row_of(&ledger, deadly[0].object).await.state, objects::State::Loading);
    let before = epoch(&ledger).await;
    publish(&*queue, &below).await;
    drained(&*queue, below[0].object).await;
    settle(&ledger).await;
    let failed = row_of(&ledger, deadly[0].object).await;
    assert_eq!(failed.state, objects::State::Failed);
    assert!(failed.error.unwrap().contains("1 chunks crashed"));
    assert_ne!(epoch(&ledger).await, before);
    // A claim of the dead chunk does not block later lines.
    let later = object(&ledger, "3", &[&[product(1, "c")]]).await;
    publish(&*queue, &later).await;
    drained(&*queue, later[0].object).await;
    writer.stop().await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("c"));
}
