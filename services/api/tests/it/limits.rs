//! Limits for clients, on the API's port.

use std::time::Duration;

use futures::FutureExt;
use jetline_api::ApiSettings;
use tokio::io::AsyncReadExt;

use crate::{
    fixtures::settings,
    socket::{Connection, Socket},
};

/// A timeout that a test waits for.
const SOON: Duration = Duration::from_millis(300);
/// A timeout that no test reaches.
const NEVER: Duration = Duration::from_hours(1);

const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";

fn patient() -> ApiSettings {
    let mut settings = settings();
    settings.header_timeout = NEVER;
    settings.idle_timeout = NEVER;
    settings.request_timeout = NEVER;
    settings
}

async fn answer(settings: &ApiSettings, request: &str) -> String {
    let api = Socket::serve(settings).await;
    let mut connection = api.connect().await;
    connection.send(request).await;
    let head = connection.head().await;
    head.lines().next().unwrap().to_owned()
}

async fn is_answered(connection: &mut Connection) {
    let head = connection.head().await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let mut body = [0; 6];
    connection.0.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"alive\n");
}

#[tokio::test]
async fn head_that_is_too_long_is_refused() {
    let settings = patient();
    let ids = "id=1&".repeat(500);
    let value = "x".repeat(2_500);
    for request in [
        format!("GET /products?{ids} HTTP/1.1\r\nHost: test\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: test\r\nX: {value}\r\n\r\n"),
        // A head without an end is refused as soon as it fills the buffer.
        format!("GET /{}", "x".repeat(20_000)),
    ] {
        assert_eq!(
            answer(&settings, &request).await,
            "HTTP/1.1 431 Request Header Fields Too Large"
        );
    }
    let value = "x".repeat(1_500);
    let long = format!("GET /healthz HTTP/1.1\r\nHost: test\r\nX: {value}\r\n\r\n");
    assert_eq!(answer(&settings, &long).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let request = |headers: usize| {
        let headers = "X: y\r\n".repeat(headers);
        format!("GET /healthz HTTP/1.1\r\nHost: test\r\n{headers}\r\n")
    };
    assert_eq!(
        answer(&patient(), &request(100)).await,
        "HTTP/1.1 431 Request Header Fields Too Large"
    );
    assert_eq!(answer(&patient(), &request(99)).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn body_that_is_too_long_is_refused_before_it_is_sent_and_one_of_unknown_length_is_not_read()
{
    let api = Socket::serve(&patient()).await;
    let mut connection = api.connect().await;
    connection.send("GET /healthz HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n").await;
    let answer = connection.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 Payload Too Large"), "{answer}");
    assert!(answer.contains("the body is longer than 1000 bytes"));

    let mut connection = api.connect().await;
    connection
        .send("GET /healthz HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        .await;
    let answer = connection.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn client_that_sends_its_head_slowly_is_disconnected() {
    let mut settings = patient();
    settings.header_timeout = SOON;
    let api = Socket::serve(&settings).await;
    let mut slow = api.connect().await;
    let mut silent = api.connect().await;
    let mut pace = tokio::time::interval(SOON / 20);
    // Far below the maximum length of a head.
    let mut bytes = 0;
    while bytes < 500 && slow.send(&HEALTH[..=bytes.min(10)][bytes.min(10)..]).await {
        pace.tick().await;
        bytes += 1;
    }
    assert!(bytes < 500, "it was not disconnected");
    assert_eq!(slow.rest().await, "");
    assert_eq!(silent.rest().await, "");
}

#[tokio::test]
async fn idle_connection_is_closed_after_the_idle_timeout_not_the_header_timeout() {
    let mut settings = patient();
    settings.header_timeout = SOON / 10;
    settings.idle_timeout = SOON;
    let api = Socket::serve(&settings).await;
    let mut connection = api.connect().await;
    // Every request comes later after the one before than the header timeout.
    let mut pace = tokio::time::interval(SOON / 4);
    for _ in 0..3 {
        pace.tick().await;
        assert!(connection.send(HEALTH).await);
        is_answered(&mut connection).await;
    }
    assert_eq!(connection.rest().await, "");
}

#[tokio::test]
async fn connection_beyond_the_limit_waits_until_another_one_ends() {
    let mut settings = patient();
    settings.api_connections = 2;
    let api = Socket::serve(&settings).await;
    let mut first = api.connect().await;
    let mut second = api.connect().await;
    for connection in [&mut first, &mut second] {
        connection.send(HEALTH).await;
        is_answered(connection).await;
    }
    let mut third = api.connect().await;
    third.send(HEALTH).await;
    // The others are served meanwhile.
    for _ in 0..20 {
        first.send(HEALTH).await;
        is_answered(&mut first).await;
    }
    assert!(third.head().now_or_never().is_none(), "it was not kept waiting");
    drop(second);
    is_answered(&mut third).await;
}

#[tokio::test]
async fn client_that_does_not_read_its_responses_is_disconnected() {
    let mut settings = patient();
    settings.request_timeout = SOON;
    let api = Socket::serve(&settings).await;
    let mut client = api.connect().await;
    // Eventually the socket buffers are full, of responses and then of requests; then it waits, until it is
    // disconnected.
    let request = "GET /openapi.json HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut requests = 0;
    while requests < 1_000_000 && client.send(request).await {
        requests += 1;
    }
    assert!(requests < 1_000_000, "it was not disconnected");
}

#[tokio::test]
async fn incomplete_head_delays_the_soft_shutdown_only_for_the_header_timeout() {
    let mut settings = patient();
    settings.header_timeout = SOON;
    let api = Socket::serve(&settings).await;
    let mut answered = api.connect().await;
    answered.send(HEALTH).await;
    is_answered(&mut answered).await;
    answered.send("GET /hea").await;
    api.shutdown.soft.cancel();
    api.ended().await;
}

#[tokio::test]
async fn header_timeout_longer_than_the_idle_timeout_is_refused() {
    let mut settings = patient();
    settings.idle_timeout = SOON;
    let base = crate::fixtures::TestApi::sqlite().await;
    let bound = jetline_api::bind(
        &settings,
        &base.database(),
        jetline_api::Changes::default(),
        crate::fixtures::metrics(),
        jetline_runtime::Shutdown::new(),
    )
    .await;
    let error = bound.err().unwrap().to_string();
    assert!(error.contains("HEADER_TIMEOUT") && error.contains("IDLE_TIMEOUT"), "{error}");
}
