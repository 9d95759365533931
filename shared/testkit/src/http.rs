//! Requests to a service, one per connection.

use std::{error::Error, net::SocketAddr, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, body::Body, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A response.
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Response {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Gets a path. An error is a failed or interrupted connection, or a timeout.
pub async fn get(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<Response> {
    let context = || format!("no response from {address} to {path}");
    timeout(TIMEOUT, send(Method::GET, address, path, headers, Full::<Bytes>::default()))
        .await
        .with_context(context)?
        .with_context(context)
}

/// Posts a body, which may be a stream. An error is a failed or interrupted connection.
pub async fn post<B>(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: B,
) -> anyhow::Result<Response>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    send(Method::POST, address, path, headers, body).await
}

async fn send<B>(
    method: Method,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: B,
) -> anyhow::Result<Response>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = handshake(stream).await?;
    // Its end closes the connection, also of a request that is given up.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(body)?).await?;
    let (head, body) = answer.into_parts();
    let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    Ok(Response { status: head.status.as_u16(), headers: head.headers, body })
}
