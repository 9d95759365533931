//! Requests to an API, one per connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::wait::TIMEOUT;

/// A response.
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    /// The value of a header, whose name is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Gets a path; `headers` are whole lines. `None` without a response.
pub(crate) fn try_get(address: SocketAddr, path: &str, headers: &[&str]) -> Option<Response> {
    let mut connection = TcpStream::connect(address).ok()?;
    connection.set_read_timeout(Some(TIMEOUT)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close");
    let request = [&[request.as_str()], headers, &["\r\n"]].concat().join("\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Response {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Gets a path of a service that responds.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Response {
    try_get(address, path, headers)
        .unwrap_or_else(|| panic!("{address} does not respond to {path}"))
}
