//! Faults and changes of the S3 endpoint on the wire.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Config, Credentials, Region},
    presigning::PresigningConfig,
};
use jetline_testkit::s3::{Fault, Fired, S3Server};

/// The timeout of everything here.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Scene {
    server: S3Server,
    client: Client,
}

impl Scene {
    /// An endpoint with the objects `a` and `b`.
    fn start() -> Self {
        let server = S3Server::start().unwrap();
        server.put("shop", "a", "0123456789");
        server.put("shop", "b", "b");
        let keys = Credentials::new(server.access_key(), server.secret_key(), None, None, "test");
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .endpoint_url(server.endpoint())
            .force_path_style(true)
            .credentials_provider(keys)
            .build();
        Self { server, client: Client::from_conf(config) }
    }

    /// Requests an object on a new connection.
    async fn ask(&self, key: &str, etag: Option<&str>) -> TcpStream {
        let request = self.client.get_object().bucket("shop").key(key);
        let valid = PresigningConfig::expires_in(Duration::from_mins(5)).unwrap();
        let request = request.set_if_match(etag.map(str::to_owned));
        let request = request.presigned(valid).await.unwrap();
        let address = self.server.endpoint().replace("http://", "");
        let target = request.uri().split_once(&address).unwrap().1;
        let mut head = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        for (name, value) in request.headers() {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream
    }

    /// The status, and the text of the body.
    async fn get(&self, key: &str) -> (u16, String) {
        let answer = answer(&mut self.ask(key, None).await);
        (answer.status, String::from_utf8(answer.body).unwrap())
    }

    async fn assert_content(&self, key: &str, content: &str) {
        assert_eq!(self.get(key).await, (200, content.to_owned()));
    }
}

struct Response {
    status: u16,
    promised: Option<usize>,
    etag: Option<String>,
    body: Vec<u8>,
}

/// A response whose connection is closed normally.
fn answer(stream: &mut TcpStream) -> Response {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = bytes.split_off(end.unwrap() + 4);
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| *field == name).map(|(_, value)| value.to_owned())
    };
    Response {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        promised: field("content-length").map(|length| length.parse().unwrap()),
        etag: field("etag"),
        body,
    }
}

#[tokio::test]
async fn reset_sends_no_response() {
    let scene = Scene::start();
    scene.server.fail_next_gets(2, &Fault::Reset);
    for fired in 1..=2 {
        let mut stream = scene.ask("a", None).await;
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(scene.server.fired().reset, fired);
    }
    scene.assert_content("a", "0123456789").await;
    assert_eq!(scene.server.gets(), 3);
}

#[tokio::test]
async fn trickling_body_is_complete_and_slow() {
    let scene = Scene::start();
    let every = Duration::from_millis(30);
    let trickle = Fault::Trickle { block: 4, every };
    scene.server.fail_next_gets(1, &trickle);
    let begin = Instant::now();
    scene.assert_content("a", "0123456789").await;
    assert!(begin.elapsed() >= 3 * every, "{:?}", begin.elapsed());
    assert_eq!(scene.server.fired().trickle, 1);
}

#[tokio::test]
async fn truncated_body_is_closed_before_its_content_length() {
    let scene = Scene::start();
    scene.server.fail_next_gets(1, &Fault::CutBody(4));
    let answer = answer(&mut scene.ask("a", None).await);
    assert_eq!((answer.status, answer.promised), (200, Some(10)));
    assert_eq!(answer.body, b"0123");
    assert_eq!(scene.server.fired().cut_body, 1);
}

#[tokio::test]
async fn faults_with_an_effect_are_counted() {
    let scene = Scene::start();
    scene.server.fail_next(1, &Fault::Status(503));
    assert_eq!(scene.get("a").await.0, 503);
    scene.server.fail_next(1, &Fault::Delay(Duration::ZERO));
    scene.assert_content("a", "0123456789").await;
    // The body ends before.
    scene.server.fail_next(1, &Fault::CutBody(100));
    scene.assert_content("a", "0123456789").await;
    let expected = Fired { status: 1, delay: 1, ..Fired::default() };
    assert_eq!(scene.server.fired(), expected);
    assert_eq!(expected.all(), 2);
}

#[tokio::test]
async fn object_is_overwritten_before_its_second_read() {
    let scene = Scene::start();
    scene.server.overwrite_before_get(2, "shop", "a", "new");
    let first = answer(&mut scene.ask("a", None).await);
    assert_eq!(first.body, b"0123456789");
    scene.assert_content("b", "b").await;

    let second = answer(&mut scene.ask("a", first.etag.as_deref()).await);
    assert_eq!(second.status, 412);
    scene.assert_content("a", "new").await;
}
