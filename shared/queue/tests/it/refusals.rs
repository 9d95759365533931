//! Error messages for servers and settings that do not work.

use jetline_queue::{Chunk, Error, JetStream, JetStreamConfig, NatsUrls, Queue};
use jetline_testkit::{
    nats::{NatsOptions, NatsServer, shared},
    process::free_port,
};
use url::Url;

use crate::fixtures::{chunk, connect, jetstream, publish, receive_one, settings};

async fn error(url: &str, config: &JetStreamConfig) -> Error {
    let url: Url = url.parse().unwrap();
    connect(&url, config).await.err().unwrap()
}

#[tokio::test]
async fn unreachable_server_is_named_without_its_password() {
    let port = free_port().unwrap();
    let url = format!("nats://ann:secret@127.0.0.1:{port}");
    let error = error(&url, &settings("unreachable")).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    let text = format!("{error:?} {error}");
    assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_right_ones_may_be_encoded() {
    let options = NatsOptions {
        user: Some(("ann".to_owned(), "se%3Acret".to_owned())),
        ..NatsOptions::default()
    };
    let server = NatsServer::start_with(options).unwrap();
    let config = settings("credentials");
    let place = server.url().to_string();
    let place = place.rsplit_once('@').unwrap().1;
    for credentials in ["", "token@", "ann:wrong@"] {
        let error = error(&format!("nats://{credentials}{place}"), &config).await;
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("NATS_URL"), "{text}");
        assert!(!text.contains("wrong") || text.contains("wrong credentials"), "{text}");
    }
    let url: Url = format!("nats://ann:se%253Acret@{place}").parse().unwrap();
    let queue = jetstream(&url, &config).await;
    publish(&queue, chunk(0)).await;
    assert_eq!(receive_one(&queue).await.chunk, chunk(0));
}

#[tokio::test]
async fn credentials_file_that_is_missing_is_named() {
    let config = JetStreamConfig {
        nats_credentials: Some("/nowhere/jetline.creds".into()),
        ..settings("file")
    };
    let error = error(shared().as_str(), &config).await.to_string();
    assert!(error.contains("NATS_CREDENTIALS"), "{error}");
    assert!(error.contains("/nowhere/jetline.creds"), "{error}");
}

#[tokio::test]
async fn server_without_jetstream_is_refused_with_advice() {
    let options = NatsOptions { jetstream: false, ..NatsOptions::default() };
    let server = NatsServer::start_with(options).unwrap();
    let error = error(server.url().as_str(), &settings("disabled")).await;
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("--jetstream"), "{error}");
}

#[tokio::test]
async fn address_of_another_kind_is_refused() {
    let error = error("http://127.0.0.1:1", &settings("scheme")).await;
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains("nats://"), "{error}");
}

#[tokio::test]
async fn body_limit_follows_the_server() {
    let options = NatsOptions { max_payload: 100_000, ..NatsOptions::default() };
    let server = NatsServer::start_with(options).unwrap();
    let queue = jetstream(&server.url(), &settings("payload")).await;
    assert_eq!(queue.max_body_bytes(), 100_000 - 4096);
    let body = vec![b'x'; queue.max_body_bytes()];
    let chunk = Chunk { body: body.into(), ..chunk(0) };
    publish(&queue, chunk.clone()).await;
    assert_eq!(receive_one(&queue).await.chunk, chunk);
}

#[tokio::test]
async fn name_that_cannot_be_in_a_subject_is_refused() {
    let queue = jetstream(&shared(), &settings("name")).await;
    let chunk = Chunk { dataset: "a.b".to_owned(), ..chunk(0) };
    let error = queue.publish(chunk).await.err().unwrap().to_string();
    assert!(error.contains("dataset is `a.b`"), "{error}");
}

#[tokio::test]
async fn one_of_several_servers_is_enough() {
    let closed_port = free_port().unwrap();
    let urls = NatsUrls::from(format!("nats://127.0.0.1:{closed_port},{}", shared()));
    let config = settings("several");
    let queue = JetStream::connect(&urls.parse().unwrap(), &config, None).await.unwrap();
    publish(&queue, chunk(0)).await;
    assert_eq!(receive_one(&queue).await.chunk, chunk(0));
}

#[tokio::test]
async fn credentials_of_one_server_are_used_for_all_and_not_shown() {
    let server = NatsServer::start_with(NatsOptions {
        user: Some(("ann".to_owned(), "hunter2".to_owned())),
        ..NatsOptions::default()
    })
    .unwrap();
    let port = server.url().port().unwrap();
    let closed_port = free_port().unwrap();
    for (password, is_right) in [("hunter2", true), ("letmein", false)] {
        let urls = format!("nats://ann:{password}@127.0.0.1:{closed_port},nats://127.0.0.1:{port}");
        let urls = NatsUrls::from(urls).parse().unwrap();
        let connected = JetStream::connect(&urls, &settings("all"), None).await;
        assert_eq!(connected.is_ok(), is_right);
        if let Err(error) = connected {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("letmein") && text.contains("127.0.0.1"), "{text}");
        }
    }
}
