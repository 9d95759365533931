//! Requests to an API, one per connection.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::patience::PATIENCE;

/// What an endpoint answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a header, whose name is written in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Asks for a path; `headers` are whole lines. Nothing where nobody answers.
pub(crate) fn try_get(address: SocketAddr, path: &str, headers: &[&str]) -> Option<Answer> {
    let mut connection = TcpStream::connect(address).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close");
    let request = [&[request.as_str()], headers, &["\r\n"]]
        .concat()
        .join("\r\n");
    connection.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Asks for a path of a service that answers.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    try_get(address, path, headers).unwrap_or_else(|| panic!("{address} does not answer {path}"))
}
