//! A minimal HTTP client, one request per connection, for the load on the API and the monitoring of NATS.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than the API's own request timeout.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The maximum size of a response, in bytes.
const MAX_RESPONSE_BYTES: u64 = 16 << 20;

/// A response.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Gets a path. An error is a failed or interrupted connection, or a timeout.
pub(super) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    timeout(TIMEOUT, request(address, path))
        .await
        .with_context(|| format!("no response to {path} within {TIMEOUT:?}"))?
}

async fn request(address: SocketAddr, path: &str) -> anyhow::Result<Response> {
    let mut connection = TcpStream::connect(address).await?;
    // HTTP/1.0: the response is not chunked and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(MAX_RESPONSE_BYTES).read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer))
        .with_context(|| format!("incomplete response to {path}"))
}

fn parse(answer: &str) -> Option<Response> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Response { status: head.split(' ').nth(1)?.parse().ok()?, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_has_status_and_body() {
        let answer = parse("HTTP/1.0 404 Not Found\r\na: b\r\n\r\nno\r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "no\r\n\r\n"));
        assert!(parse("HTTP/1.0 200 OK\r\na: b\r\n").is_none());
    }
}
