//! A killed server, restarted with and without its data.

use std::{fs, time::Duration};

use jetline_queue::{Error, Queue};
use jetline_testkit::nats::{NatsOptions, NatsServer};
use tokio::time::{sleep, timeout};

use crate::fixtures::{
    TIMEOUT, await_pending, chunk, eventually, jetstream, object, publish, publish_with_retries,
    receive_one, settings, starts,
};

#[tokio::test]
async fn restarted_server_delivers_its_messages() {
    let mut server = NatsServer::start().unwrap();
    let queue = jetstream(&server.url(), &settings("restart")).await;
    publish(&queue, chunk(0)).await;
    let before = server.pid();
    server.restart().unwrap();
    assert_ne!(server.pid(), before);

    assert_eq!(receive_one(&queue).await.chunk, chunk(0));
    publish_with_retries(&queue, chunk(1)).await;
    await_pending(&queue, 7, 2).await;
}

#[tokio::test]
async fn publisher_recreates_the_stream_on_an_empty_server() {
    let mut server = NatsServer::start().unwrap();
    let queue = jetstream(&server.url(), &settings("publisher")).await;
    publish(&queue, chunk(0)).await;
    server.wipe_and_restart().unwrap();

    publish_with_retries(&queue, chunk(1)).await;
    assert_eq!(queue.pending(&[object(7)]).await.unwrap(), [1]);
    assert_eq!(receive_one(&queue).await.chunk, chunk(1));
}

#[tokio::test]
async fn waiting_receiver_recreates_the_stream_on_an_empty_server() {
    let mut server = NatsServer::start().unwrap();
    let url = server.url();
    let config = settings("receiver");
    let receiver = jetstream(&url, &config).await;
    let chunk_of_receiver = tokio::spawn(async move { receive_one(&receiver).await.chunk });
    server.wipe_and_restart().unwrap();

    let client = async_nats::connect(url.as_str()).await.unwrap();
    let admin = async_nats::jetstream::new(client);
    eventually("the receiver has created the stream", async || {
        admin.get_stream(&config.nats_stream).await.is_ok()
    })
    .await;
    let publisher = jetstream(&url, &config).await;
    publish(&publisher, chunk(0)).await;
    assert_eq!(crate::fixtures::within(chunk_of_receiver).await.unwrap(), chunk(0));
}

/// Like a server whose disk was lost, or that removed the files of a new stream with those of the deleted one.
#[tokio::test]
async fn stream_without_its_files_is_replaced() {
    let store = tempfile::tempdir().unwrap();
    let options = NatsOptions { store: Some(store.path().to_owned()), ..NatsOptions::default() };
    let server = NatsServer::start_with(options).unwrap();
    let config = settings("files");
    let queue = jetstream(&server.url(), &config).await;
    publish(&queue, chunk(0)).await;
    let streams = store.path().join("jetstream/$G/streams");
    fs::remove_dir_all(streams.join(&config.nats_stream)).unwrap();
    let received = async {
        loop {
            // An error means that the server does not respond: receivers retry.
            let Ok(received) = queue.receive(1).await else {
                continue;
            };
            if starts(&received) == [1] {
                break;
            }
        }
    };
    let published = async {
        loop {
            publish_with_retries(&queue, chunk(1)).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        received = timeout(TIMEOUT * 4, received) => received.expect("nothing is delivered any more"),
        () = published => {}
    }
}

#[tokio::test]
async fn publish_fails_while_the_server_is_unavailable() {
    let mut server = NatsServer::start().unwrap();
    let queue = jetstream(&server.url(), &settings("unavailable")).await;
    publish(&queue, chunk(0)).await;
    let delivery = receive_one(&queue).await;
    server.stop();
    eventually("publishing fails", async || {
        let Err(error) = queue.publish(chunk(1)).await else {
            return false;
        };
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        true
    })
    .await;
    let error = delivery.progress().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let error = queue.pending(&[object(7)]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");

    // Buffered in the client until the server is available again.
    delivery.ack().await.unwrap();
    server.restart().unwrap();
    await_pending(&queue, 7, 0).await;
}
