//! The in-process queue beyond the port's contract.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use jetline_queue::{Chunk, InProcess, Queue};

use crate::fixtures::{chunk, publish, receive, receive_one, starts, within};

fn of_bytes(start: u64, bytes: usize) -> Chunk {
    Chunk { body: Bytes::from(vec![b'x'; bytes]), ..chunk(start) }
}

#[tokio::test]
async fn redelivered_chunks_come_first_and_in_order() {
    let queue = InProcess::new(1 << 20);
    for start in 0..4 {
        publish(&queue, chunk(start)).await;
    }
    let mut deliveries = receive(&queue, 3).await;
    let last = deliveries.pop().unwrap();
    let middle = deliveries.pop().unwrap();
    drop(last);
    drop(deliveries);
    drop(middle);

    let again = receive(&queue, 4).await;
    assert_eq!(starts(&again), [0, 1, 2, 3]);
    let attempts: Vec<u64> = again.iter().map(|delivery| delivery.attempt).collect();
    assert_eq!(attempts, [2, 2, 2, 1]);
}

#[tokio::test]
async fn publisher_waits_until_a_chunk_is_acknowledged() {
    let queue = InProcess::new(10);
    publish(&queue, of_bytes(0, 6)).await;
    let mut waiting = Box::pin(queue.publish(of_bytes(1, 5)));
    assert!(waiting.as_mut().now_or_never().is_none());

    let first = receive_one(&queue).await;
    assert!(waiting.as_mut().now_or_never().is_none(), "in flight counts");
    first.ack().await.unwrap();
    within(waiting).await.unwrap().await.unwrap();
    assert_eq!(receive_one(&queue).await.chunk.start, 1);
}

#[tokio::test]
async fn cancelled_publisher_releases_its_capacity() {
    let queue = InProcess::new(10);
    publish(&queue, of_bytes(0, 10)).await;
    let wait = Duration::from_millis(1);
    assert!(tokio::time::timeout(wait, queue.publish(of_bytes(1, 10))).await.is_err());
    receive_one(&queue).await.ack().await.unwrap();
    publish(&queue, of_bytes(2, 10)).await;
    assert_eq!(receive_one(&queue).await.chunk.start, 2);
}

#[tokio::test]
async fn several_receivers_share_the_chunks() {
    let queue = InProcess::new(1 << 20);
    let receivers = [(); 3].map(|()| receive_one(&queue));
    let (received, ()) = tokio::join!(futures::future::join_all(receivers), async {
        for start in 0..3 {
            publish(&queue, chunk(start)).await;
        }
    });
    assert_eq!(starts(&received), [0, 1, 2]);
}
