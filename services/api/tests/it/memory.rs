//! The memory that clients can make the service use, measured on the program itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use futures::future::join_all;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::fixtures::TestApi;

/// Bytes of a large line, record or message.
const LARGE: usize = 500_000;
/// Number of lines, and of records.
const NUMBER: usize = 100;
/// Limits in MiB for one client and for many, with a database of 100 each: a program without optimisation, the memory
/// of its connections and threads, and its budget for responses.
const FOR_ONE: u64 = 150;
const FOR_MANY: u64 = 250;

/// A database with large rejected lines and large records.
async fn large() -> TestApi {
    let base = TestApi::sqlite().await;
    base.execute("PRAGMA synchronous = OFF", []).await;
    let numbers = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {NUMBER}) "
    );
    let text = format!("replace(hex(zeroblob({})), '0', '9')", LARGE / 2);
    base.execute(
        &format!(
            "{numbers}INSERT INTO rejected_lines (object_id, line, byte_offset, reason, message, raw) \
             SELECT 1, n, n, 'out_of_range', {text}, CAST({text} AS BLOB) FROM n"
        ),
        [],
    )
    .await;
    base.execute(
        &format!(
            "{numbers}INSERT INTO products (id, title, price, category, brand, url, description, \
             jetline_fingerprint, jetline_position, jetline_changed_at) SELECT n, 't' || n, '1', 'c', 'b', 'u', {text}, \
             zeroblob(16), n, '2026-11-21T12:00:00Z' FROM n"
        ),
        [],
    )
    .await;
    base
}

/// The program; killed when dropped.
struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    fn start(base: &TestApi, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_jetline-api"))
            .env_clear()
            .env("DATABASE_URL", base.url())
            .env("LISTEN", "127.0.0.1:0")
            .env("ANSWER_BYTES", "8MiB")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log.find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once("api listening address=")?;
            Some(address.trim().parse().unwrap())
        });
        // Its log has to be read on: a full pipe would block it.
        thread::spawn(move || log.for_each(drop));
        Self { process, address: address.expect("it ended") }
    }

    /// Its peak memory.
    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap().trim().trim_end_matches(" kB");
        peak.parse().unwrap()
    }

    fn took_at_most(&self, limit: u64) {
        let peak = self.peak_kib();
        assert!(peak < limit << 10, "{peak} KiB");
    }

    /// Sends a request without reading the response. With HTTP/1.0 it is not chunked, and ends with the connection.
    async fn ask(&self, path: &str, headers: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// The head and the body of a response.
    async fn get(&self, path: &str) -> (String, Vec<u8>) {
        let mut answer = Vec::new();
        let mut stream = self.ask(path, "").await;
        stream.read_to_end(&mut answer).await.unwrap();
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        let body = answer.split_off(head + 4);
        (String::from_utf8(answer).unwrap(), body)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads only the status line of a response.
async fn status(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap().split(' ').nth(1).unwrap().to_owned()
}

fn next(head: &str) -> Option<String> {
    let link = head.lines().find_map(|line| line.strip_prefix("link: <"))?;
    Some(format!("/products{}", link.split_once('>')?.0))
}

fn ids(count: usize) -> String {
    let ids: Vec<String> = (1..=count).rev().map(|id| format!("id={id}")).collect();
    format!("/products?{}", ids.join("&"))
}

const LONG_TIMEOUT: (&str, &str) = ("REQUEST_TIMEOUT", "10m");

#[tokio::test]
async fn large_rejected_lines_are_truncated_in_lists_and_served_whole_alone() {
    let base = large().await;
    let service = Service::start(&base, &[LONG_TIMEOUT]);
    let mut path = Some("/rejects?limit=1000".to_owned());
    let mut lines = Vec::new();
    while let Some(page) = path {
        let (head, body) = service.get(&page).await;
        assert!(body.len() <= 2 << 20, "{}", body.len());
        let rejects: Vec<Value> = serde_json::from_slice(&body).unwrap();
        for reject in rejects {
            assert_eq!(reject["raw"].as_str().unwrap().len(), 4096);
            assert_eq!(reject["raw_truncated"], true);
            assert_eq!(reject["message"].as_str().unwrap().len(), 1024);
            lines.push(reject["line"].as_u64().unwrap());
        }
        path = next(&head);
    }
    assert!(lines.into_iter().eq(1..=NUMBER as u64));
    let (_, body) = service.get("/rejects/1/7").await;
    let whole: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(whole["raw"].as_str().unwrap(), "9".repeat(LARGE));
    assert_eq!(whole.get("raw_truncated"), None);
    service.took_at_most(FOR_ONE);
}

#[tokio::test]
async fn large_records_are_streamed_in_one_response() {
    let base = large().await;
    let service = Service::start(&base, &[LONG_TIMEOUT]);
    let (head, body) = service.get(&ids(100)).await;
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    let records: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let found = records.iter().map(|record| record["id"].as_u64().unwrap());
    assert!(found.eq((1..=100).rev()));
    for record in &records {
        assert_eq!(record["description"].as_str().unwrap().len(), LARGE);
    }
    service.took_at_most(FOR_ONE);
}

#[tokio::test]
async fn large_records_are_listed_in_pages_of_limited_size() {
    let base = large().await;
    let service = Service::start(&base, &[LONG_TIMEOUT]);
    let mut path = Some("/products?limit=1000".to_owned());
    let mut found = Vec::new();
    while let Some(page) = path {
        let (head, body) = service.get(&page).await;
        assert!(body.len() <= 1 << 20, "{}", body.len());
        let records: Vec<Value> = serde_json::from_slice(&body).unwrap();
        found.extend(records.iter().map(|record| record["id"].as_u64().unwrap()));
        path = next(&head);
    }
    assert!(found.into_iter().eq(1..=NUMBER as u64));
    service.took_at_most(FOR_ONE);
}

#[tokio::test]
async fn clients_that_do_not_read_responses_use_limited_memory_and_do_not_block_small_ones() {
    let base = large().await;
    let service = Service::start(&base, &[("REQUEST_TIMEOUT", "20s")]);
    let many = ids(100);
    let paths = (1..=NUMBER).flat_map(|number| {
        [
            format!("/products/{number}"),
            format!("/rejects/1/{number}"),
            "/rejects?limit=1000".to_owned(),
            "/products?limit=1000".to_owned(),
            "/docs".to_owned(),
            many.clone(),
        ]
    });
    let encodings = ["", "Accept-Encoding: zstd\r\n", "Accept-Encoding: br\r\n"];
    let asked = paths.take(500).zip(encodings.into_iter().cycle());
    let asked = asked.map(async |(path, encoding)| service.ask(&path, encoding).await);
    let mut client = join_all(asked).await;
    for stream in &mut client {
        let status = status(stream).await;
        assert!(["200", "408", "503"].contains(&status.as_str()), "{status}");
    }
    for (path, expected) in [("/healthz", " 200 "), ("/products/0", " 404 ")] {
        let (head, _) = service.get(path).await;
        assert!(head.contains(expected), "{path}: {head}");
    }
    service.took_at_most(FOR_MANY);
}
