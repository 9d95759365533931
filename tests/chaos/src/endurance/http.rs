//! Requests over HTTP, one per connection: what the load on the API and the figures of NATS need.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longer than a request of the API may take by its own settings.
const PATIENCE: Duration = Duration::from_secs(15);

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 16 << 20;

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks for a path. An error is a connection that does not come about, breaks or is silent for too long.
pub(super) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    timeout(PATIENCE, ask(address, path))
        .await
        .with_context(|| format!("no answer to {path} within {PATIENCE:?}"))?
}

async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let mut connection = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(LONGEST).read_to_end(&mut answer).await?;
    parse(&String::from_utf8_lossy(&answer)).with_context(|| format!("half an answer to {path}"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_its_status_and_its_body() {
        let answer = parse("HTTP/1.0 404 Not Found\r\na: b\r\n\r\nno\r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "no\r\n\r\n"));
        assert!(parse("HTTP/1.0 200 OK\r\na: b\r\n").is_none());
    }
}
