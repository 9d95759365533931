//! The conformance suite of the port.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use jetline_core::ObjectId;
use jetline_queue::{Chunk, Error, Subject};
use tokio::time::{sleep, timeout};

use crate::fixtures::{
    await_pending, chunk, object, publish, queues, receive, receive_one, starts, within,
};

#[tokio::test]
async fn every_field_is_delivered() {
    for (name, queue) in queues("fields").await {
        let plain = chunk(0);
        let oversized = Chunk {
            object: ObjectId::MAX,
            start: i64::MAX as u64 - 1,
            end: i64::MAX as u64,
            first_line: u32::MAX,
            lines: 1,
            oversized: true,
            settled: object(0),
            ..chunk(1)
        };
        let empty = Chunk { body: Bytes::new(), ..chunk(2) };
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        let binary = Chunk { body: bytes.into(), ..chunk(3) };
        for published in [plain, oversized, empty, binary] {
            publish(&*queue, published.clone()).await;
            let delivery = receive_one(&*queue).await;
            assert_eq!(delivery.chunk, published, "{name}");
            assert_eq!(delivery.attempt, 1, "{name}");
            delivery.ack().await.unwrap();
        }
    }
}

#[tokio::test]
async fn call_is_heard_by_every_listener_also_if_it_is_busy() {
    for (_, queue) in queues("wakeup").await {
        let wakeup = queue.wakeup(Subject::Deliveries);
        let mut listeners = [wakeup.subscribe().await.unwrap(), wakeup.subscribe().await.unwrap()];
        for _ in 0..2 {
            queue.wakeup(Subject::Deliveries).notify().await;
            for listener in &mut listeners {
                within(listener.notified()).await;
            }
        }
    }
}

#[tokio::test]
async fn call_is_not_heard_by_listeners_of_another_subject() {
    for (name, queue) in queues("subject").await {
        let [deliveries, objects] =
            [Subject::Deliveries, Subject::Objects].map(|subject| queue.wakeup(subject));
        let mut of_deliveries = deliveries.subscribe().await.unwrap();
        let mut of_objects = objects.subscribe().await.unwrap();
        for _ in 0..2 {
            deliveries.notify().await;
            within(of_deliveries.notified()).await;
        }
        // Both would have heard the first one by now.
        assert!(of_objects.notified().now_or_never().is_none(), "{name}");
        objects.notify().await;
        within(of_objects.notified()).await;
    }
}

#[tokio::test]
async fn chunks_are_delivered_in_the_order_of_publication() {
    for (name, queue) in queues("order").await {
        let mut acks = Vec::new();
        for start in 0..50 {
            acks.push(queue.publish(chunk(start)).await.unwrap());
        }
        for ack in acks {
            within(ack).await.unwrap();
        }
        let deliveries = receive(&*queue, 50).await;
        assert_eq!(starts(&deliveries), (0..50).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn receive_returns_at_most_max_chunks() {
    for (name, queue) in queues("max").await {
        for start in 0..5 {
            publish(&*queue, chunk(start)).await;
        }
        assert_eq!(within(queue.receive(2)).await.unwrap().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn body_at_the_limit_is_accepted_and_one_byte_more_is_refused() {
    for (name, queue) in queues("limit").await {
        let body = |bytes: usize| Chunk {
            dataset: "d".repeat(255),
            declaration: i64::MAX,
            format: jetline_formats::Format::JsonLines,
            header: Bytes::new(),
            incarnation: "g".repeat(255),
            read_attempt: "r".repeat(255),
            body: vec![b'x'; bytes].into(),
            ..chunk(0)
        };
        let limit = queue.max_body_bytes();
        let refused = queue.publish(body(limit + 1)).await.err().unwrap();
        assert!(matches!(refused, Error::Refused { .. }), "{name}: {refused}");
        publish(&*queue, body(limit)).await;
        let delivery = receive_one(&*queue).await;
        assert_eq!(delivery.chunk.body.len(), limit, "{name}");
    }
}

#[tokio::test]
async fn dropped_delivery_is_redelivered_and_an_acknowledged_one_is_not() {
    for (name, queue) in queues("drop").await {
        publish(&*queue, chunk(0)).await;
        publish(&*queue, chunk(1)).await;
        let mut deliveries = receive(&*queue, 2).await;
        drop(deliveries.pop());
        deliveries.remove(0).ack().await.unwrap();

        let again = receive_one(&*queue).await;
        assert_eq!((again.chunk.start, again.attempt), (1, 2), "{name}");
        again.ack().await.unwrap();
        await_pending(&*queue, 7, 0).await;
    }
}

#[tokio::test]
async fn delivery_in_progress_is_not_redelivered() {
    for (name, queue) in queues("progress").await {
        publish(&*queue, chunk(0)).await;
        publish(&*queue, chunk(1)).await;
        let mut deliveries = receive(&*queue, 2).await;
        drop(deliveries.pop());
        let kept = deliveries.remove(0);

        // Twice, so that more than one acknowledgement wait passes for the one in progress.
        for attempt in 2..=3 {
            let again = within(async {
                loop {
                    kept.progress().await.unwrap();
                    let tick = Duration::from_millis(200);
                    if let Ok(received) = timeout(tick, queue.receive(2)).await {
                        return received.unwrap();
                    }
                }
            })
            .await;
            assert_eq!(starts(&again), [1], "{name}");
            assert_eq!(again[0].attempt, attempt, "{name}");
        }
        kept.ack().await.unwrap();
    }
}

#[tokio::test]
async fn pending_counts_waiting_and_in_flight_chunks() {
    for (name, queue) in queues("pending").await {
        for start in 0..3 {
            publish(&*queue, chunk(start)).await;
        }
        let other = Chunk { object: object(77), dataset: "others".to_owned(), ..chunk(0) };
        publish(&*queue, other).await;
        assert_eq!(queue.pending(&[object(7)]).await.unwrap(), [3], "{name}");

        let delivery = receive_one(&*queue).await;
        assert_eq!(queue.pending(&[object(7)]).await.unwrap(), [3], "{name}");
        delivery.ack().await.unwrap();
        await_pending(&*queue, 7, 2).await;

        drop(receive_one(&*queue).await);
        assert_eq!(queue.pending(&[object(7)]).await.unwrap(), [2], "{name}");
        assert_eq!(queue.pending(&[object(77)]).await.unwrap(), [1], "{name}");
        assert_eq!(queue.pending(&[object(8)]).await.unwrap(), [0], "{name}");
        for objects in [&[7, 8, 77][..], &[77, 8, 9, 7, 10]] {
            let ids: Vec<ObjectId> = objects.iter().map(|number| object(*number)).collect();
            let each = queue.pending(&ids).await.unwrap();
            let expected = objects.iter().map(|number| match number {
                7 => 2,
                77 => 1,
                _ => 0,
            });
            assert_eq!(each, expected.collect::<Vec<u64>>(), "{name}");
        }
    }
}

#[tokio::test]
async fn chunk_of_another_read_attempt_is_delivered_too() {
    for (name, queue) in queues("reading").await {
        let again = Chunk { read_attempt: "second".to_owned(), ..chunk(0) };
        publish(&*queue, chunk(0)).await;
        receive_one(&*queue).await.ack().await.unwrap();
        publish(&*queue, again.clone()).await;
        assert_eq!(receive_one(&*queue).await.chunk, again, "{name}");
    }
}

#[tokio::test]
async fn publishing_a_chunk_again_is_safe() {
    for (name, queue) in queues("repeat").await {
        publish(&*queue, chunk(0)).await;
        publish(&*queue, chunk(0)).await;
        publish(&*queue, chunk(1)).await;
        let mut seen = Vec::new();
        while seen.last() != Some(&1) {
            let delivery = receive_one(&*queue).await;
            seen.push(delivery.chunk.start);
            delivery.ack().await.unwrap();
        }
        assert!(seen.starts_with(&[0]), "{name}");
        await_pending(&*queue, 7, 0).await;
    }
}

#[tokio::test]
async fn waiting_receive_returns_what_is_published_later() {
    for (name, queue) in queues("later").await {
        let (received, ()) = tokio::join!(receive_one(&*queue), async {
            sleep(Duration::from_millis(100)).await;
            publish(&*queue, chunk(0)).await;
        });
        assert_eq!(received.chunk.start, 0, "{name}");
    }
}

#[tokio::test]
async fn cancelled_receive_loses_nothing() {
    const CHUNKS: u64 = 40;
    for (name, queue) in queues("cancel").await {
        let mut received = Vec::new();
        for start in 0..CHUNKS {
            publish(&*queue, chunk(start)).await;
            // Cancels at different points: before the request, after it, with messages in transit.
            let wait = Duration::from_micros(start * 50);
            if let Ok(deliveries) = timeout(wait, queue.receive(3)).await {
                received.extend(deliveries.unwrap());
            }
        }
        let missing = usize::try_from(CHUNKS).unwrap() - received.len();
        received.extend(receive(&*queue, missing).await);
        assert_eq!(starts(&received), (0..CHUNKS).collect::<Vec<_>>(), "{name}");
        assert!(received.iter().all(|one| one.attempt == 1), "{name}");
    }
}
