//! The example of users, teams, wallets and cards: no number and no code of a card is anywhere after they were posted.

use std::{fmt::Write, fs, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::Full;
use jetline_testkit::{
    http::{self, Response},
    nats,
    process::Process,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    collector::Collector,
    deployment::{BUCKET, Deployment, finish, succeeded, terminate},
    standalone::{Home, workspace},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Numbers and codes of cards, valid and not. A code is found as a value: its digits may be in any number.
const SECRETS: [&str; 8] = [
    "4111111111111111",
    "5500005555555559",
    "4111111111111112",
    "6011000990139424",
    "\"739\"",
    "\"7391\"",
    "\"73x\"",
    "12/90,739",
];

const JSON: (&str, &str) = ("content-type", "application/json");

/// Answers, which must have no secret either.
struct Client {
    address: SocketAddr,
    answers: Vec<String>,
}

impl Client {
    async fn post(&mut self, path: &str, content_type: (&str, &str), body: &str) -> Response {
        let headers = [content_type, ("prefer", "wait=30")];
        let body = Full::<Bytes>::from(body.to_owned());
        let answer = http::post(self.address, path, &headers, body).await.unwrap();
        self.answers.push(format!("{:?} {}", answer.headers, answer.body));
        answer
    }

    async fn get(&mut self, path: &str) -> Value {
        let answer = http::get(self.address, path, &[]).await.unwrap();
        self.answers.push(format!("{:?} {}", answer.headers, answer.body));
        if answer.body.starts_with(['{', '[']) { answer.json() } else { Value::Null }
    }

    /// The way of the example, with what is wrong.
    async fn walk(&mut self) {
        for (path, body, status) in [
            ("/users", json!({ "id": "ann", "name": "Ann", "email": "ann@example.com" }), 200),
            ("/teams", json!({ "id": "shop", "name": "Shop", "members": ["ann"] }), 200),
            ("/wallets", json!({ "id": "w1", "team_id": "shop" }), 200),
            ("/wallets", json!({ "id": "w2", "team_id": "shop", "user_id": "ann" }), 422),
            ("/wallets", json!({ "id": "w3", "user_id": "ann", "monthly_limit": 9_999 }), 422),
            (
                "/cards",
                json!([
                    { "id": "c1", "wallet_id": "w1", "number": SECRETS[0], "expiry": "12/2090", "cvv": "739" },
                    { "id": "c2", "wallet_id": "w1", "number": SECRETS[1], "expiry": "01/91", "cvv": "7391" },
                    { "id": "c3", "wallet_id": "w1", "number": SECRETS[2], "expiry": "01/91", "cvv": "739" },
                    { "id": "c4", "wallet_id": "w1", "number": SECRETS[0], "expiry": "01/20", "cvv": "739" },
                    { "id": "c5", "wallet_id": "w1", "number": SECRETS[0], "expiry": "01/91", "cvv": "73x" },
                    { "id": "c6", "wallet_id": "w1", "number": SECRETS[0], "expiry": "01/91", "cvc": "739" },
                ]),
                200,
            ),
            ("/wallets", json!({ "id": "w1", "team_id": "shop", "monthly_limit": 900_000 }), 200),
            ("/cards", json!({ "id": "c2", "deleted": true }), 200),
        ] {
            let answer = self.post(path, JSON, &body.to_string()).await;
            assert_eq!(answer.status, status, "{}", answer.body);
        }
        let csv = format!(
            "id,wallet_id,number,expiry,cvv\nc7,w9,{},12/90,739\nc8,w9,{0},,739\n{0}",
            SECRETS[3]
        );
        let answer = self.post("/cards", ("content-type", "text/csv"), &csv).await;
        assert_eq!((answer.status, &answer.json()["lines"]), (200, &json!(1)), "{}", answer.body);
        for broken in [format!("[{{\"number\":\"{}\"", SECRETS[0]), SECRETS[0].to_owned()] {
            let answer = self.post("/cards", JSON, &broken).await;
            assert!([400, 422].contains(&answer.status), "{}", answer.body);
        }
        let cards = json!({ "rows": [{ "id": "c1", "number": "1111", "expiry": "12/2090" }], "has_more": false });
        assert_eq!(self.get("/cards/queries/of_wallet?wallet=w1").await, cards);
        let wallets =
            json!({ "rows": [{ "id": "w1", "monthly_limit": 900_000 }], "has_more": false });
        assert_eq!(self.get("/wallets/queries/of_team?team=shop").await, wallets);
        let card = json!({ "id": "c7", "wallet_id": "w9", "number": "9424", "expiry": "12/90" });
        assert_eq!(self.get("/cards/c7").await, card);
        for path in [
            "/objects",
            "/rejects",
            "/datasets/cards",
            "/datasets/cards/fields",
            "/metrics",
            "/openapi.json",
        ] {
            self.get(path).await;
        }
    }
}

fn assert_has_no_secret(of: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for secret in SECRETS {
        let Some(at) = text.find(secret) else { continue };
        let begin = text[..at].char_indices().rev().nth(80).map_or(0, |(at, _)| at);
        panic!("{of} has {secret}: {}", &text[begin..at + secret.len()]);
    }
}

fn assert_files_have_no_secret(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_files_have_no_secret(&path);
        } else if path.is_file() {
            assert_has_no_secret(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

fn declarations() -> String {
    workspace().join("examples/wallets/datasets").display().to_string()
}

#[test]
fn secret_is_found() {
    assert!(
        std::panic::catch_unwind(|| assert_has_no_secret("it", b"x 5500005555555559 y")).is_err()
    );
}

#[tokio::test]
async fn one_process_stores_no_number_of_a_card() {
    let home = Home::new();
    fs::remove_dir(home.folder.path().join("samples")).unwrap();
    // A file of cards is not loaded.
    let file = format!("{{\"id\":\"f\",\"wallet_id\":\"w\",\"number\":\"{}\"}}", SECRETS[0]);
    fs::write(home.folder.path().join("cards.jsonl"), &file).unwrap();
    let declarations = declarations();
    let settings =
        [("DATASETS", &*declarations), ("INTAKE", "open"), ("REDACT_KEY", KEY), ("LOG", "trace")];
    let process = home.serve(&[], settings).await;
    let mut client = Client { address: home.address, answers: Vec::new() };
    client.walk().await;
    terminate(process);
    assert_has_no_secret("an answer", client.answers.join("\n").as_bytes());
    let load = |log: &str, settings: &[(&str, &str)]| {
        let mut command = home.command(&["--exit", "cards.jsonl"]);
        command.env("DATASETS", &declarations).envs(settings.iter().copied());
        finish(Process::start(command, &home.folder.path().join(log)).unwrap())
    };
    let (_, output) = load("second-log", &[("LOG", "trace")]);
    assert!(output.contains("its dataset has redacted columns: post its records"), "{output}");
    // With the key, and where it is accepted, it is: the first card is the one that was posted.
    let lines = [
        json!({ "id": "c1", "wallet_id": "w1", "number": SECRETS[0], "expiry": "12/2090", "cvv": "739" }),
        json!({ "id": "f", "wallet_id": "w1", "number": SECRETS[3], "expiry": "12/2090", "cvv": "739" }),
        json!({ "id": "g", "wallet_id": "w1", "number": SECRETS[2], "expiry": "12/2090", "cvv": "739" }),
        json!({ "id": "h", "wallet_id": "w1", "number": SECRETS[0], "expiry": "12/2090", "cvv": "73x" }),
    ];
    let lines = lines.map(|line| line.to_string()).join("\n");
    fs::write(home.folder.path().join("cards.jsonl"), lines).unwrap();
    let (status, output) = load("third-log", &[("REDACT_FILES", "true")]);
    assert!(!status && output.contains("--redact-key"), "{output}");
    let settings = [("REDACT_FILES", "true"), ("REDACT_KEY", KEY), ("LOG", "trace")];
    let (_, output) = load("fourth-log", &settings);
    let totals = output.lines().find_map(|line| line.strip_prefix("in all")).unwrap();
    let totals: Vec<&str> = totals.split_whitespace().collect();
    // Inserted: 1, unchanged: 1, rejected: 2.
    assert_eq!(totals, ["4", "1", "0", "1", "0", "2"], "{output}");
    fs::remove_file(home.folder.path().join("cards.jsonl")).unwrap();
    assert_files_have_no_secret(home.folder.path());
}

#[tokio::test]
async fn services_store_and_send_no_number_of_a_card() {
    let mut deployment = Deployment::shared("wallets").await;
    let collector = Collector::start();
    deployment.set_all([
        ("DATASETS", &*declarations()),
        ("SOURCE", &format!("users=s3://{BUCKET}/users/")),
        ("INTAKE", "open"),
        ("INTAKE_STORE", &format!("s3://{BUCKET}/intake/")),
        ("REDACT_KEY", KEY),
        ("WATCH", "1h"),
        ("LOG", "trace"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
    ]);
    succeeded(finish(deployment.start("jetline-migrate")));
    let nats = async_nats::connect(nats::shared().as_str()).await.unwrap();
    let mut messages = nats.subscribe(format!("{}.>", deployment.stream)).await.unwrap();
    nats.flush().await.unwrap();
    let mut processes = deployment.writers(2);
    processes.push(deployment.start("jetline-fetcher"));
    let (api, address) = deployment.serve("jetline-api").await;
    let mut client = Client { address, answers: Vec::new() };
    client.walk().await;
    assert_has_no_secret("an answer", client.answers.join("\n").as_bytes());
    processes.push(api);
    for process in processes {
        assert_has_no_secret("a log", terminate(process).1.as_bytes());
    }
    assert_files_have_no_secret(deployment.folder());
    for key in deployment.s3.keys(BUCKET) {
        assert_has_no_secret(&key, &deployment.s3.content(BUCKET, &key));
    }
    let tables = "SELECT tablename AS text FROM pg_tables WHERE schemaname = 'public'";
    let tables = deployment.ledger.texts(tables).await.unwrap();
    assert!(tables.contains(&"intake".to_owned()), "{tables:?}");
    for table in tables {
        let sql = format!("SELECT row_to_json(one)::text AS text FROM {table:?} AS one");
        let rows = deployment.ledger.texts(&sql).await.unwrap();
        assert_has_no_secret(&table, rows.join("\n").as_bytes());
    }
    let mut received = String::new();
    while let Ok(Some(message)) = timeout(Duration::from_millis(500), messages.next()).await {
        let payload = String::from_utf8_lossy(&message.payload);
        writeln!(received, "{:?} {payload}", message.headers).unwrap();
    }
    assert!(received.contains("Jetline-Redacted"), "{received}");
    assert_has_no_secret("NATS", received.as_bytes());
    let spans = format!("{:?}", collector.spans());
    assert!(spans.contains("commit"), "{spans}");
    assert_has_no_secret("a trace", spans.as_bytes());
}
