//! Records that are posted to the api.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_compression::tokio::write::GzipEncoder;
use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use jetline_testkit::{
    http::{self, Response},
    process::{Process, Signal, free_port},
    usage::{Scope, Usage},
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::{
    deployment::{BUCKET, Deployment, failed, finish, succeeded},
    standalone::Home,
    wait::{TIMEOUT, until},
};

const USERS: &str = "
key = 'id'
deleted = { column = 'op', equals = 'D' }
[columns]
id = 'bigint'
name = { type = 'text', maxLength = 30 }
born = { type = 'date', optional = true }
";

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const CSV: (&str, &str) = ("content-type", "text/csv; charset=utf-8");
const WAIT: (&str, &str) = ("prefer", "wait=30");

/// The headers of a request.
type Headers = &'static [(&'static str, &'static str)];

async fn post(
    address: SocketAddr,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Option<Response> {
    http::post(address, "/users", headers, Full::new(body.into())).await.ok()
}

fn user(id: usize) -> String {
    json!({ "id": id, "name": format!("user {id}") }).to_string()
}

fn home() -> Home {
    let home = Home::new();
    fs::create_dir(home.folder.path().join("datasets")).unwrap();
    fs::write(home.folder.path().join("datasets/users.toml"), USERS).unwrap();
    fs::remove_dir(home.folder.path().join("samples")).unwrap();
    home
}

async fn start(home: &Home, settings: &[(&str, &str)]) -> Process {
    let mut command = home.command(&[]);
    command.envs(settings.iter().copied());
    let process = Process::start(command, &home.folder.path().join("log")).unwrap();
    until("it serves", async || {
        let answer = http::get(home.address, "/readyz", &[]).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
    process
}

#[tokio::test]
async fn record_of_every_type_is_loaded_and_served() {
    let home = home();
    let process = start(&home, &[("INTAKE", "open")]).await;
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(user(6).as_bytes()).await.unwrap();
    encoder.shutdown().await.unwrap();
    let gzip = encoder.into_inner();
    let bodies: [(Headers, Vec<u8>, i64); 6] = [
        (&[JSON], user(1).into(), 1),
        (&[JSON], format!("[\n{},\n{}\n]", user(2), user(3)).into(), 2),
        (&[LINES], format!("{}\n\n{}", user(4), user(5)).into(), 2),
        (&[LINES, ("content-encoding", "gzip")], gzip, 1),
        (&[CSV], b"id;name;born\r\n7;\"user 7\";2001-02-03\r\n".into(), 1),
        (&[JSON], br#"{"op":"D","id":3}"#.into(), 1),
    ];
    for (headers, body, lines) in bodies {
        let answer = post(home.address, &[headers, &[WAIT]].concat(), body).await.unwrap();
        let view = answer.json();
        assert_eq!((answer.status, &view["state"]), (200, &json!("done")), "{view}");
        assert_eq!((&view["lines"], &view["invalid"]), (&json!(lines), &json!(0)), "{view}");
        let location = answer.headers["location"].to_str().unwrap();
        assert_eq!(location, format!("intake/{}", view["id"].as_str().unwrap()));
        let again = http::get(home.address, &format!("/{location}"), &[]).await.unwrap();
        assert_eq!(again.json()["lines"], lines);
    }
    let users = http::get(home.address, "/users", &[]).await.unwrap().json();
    let ids: Vec<&Value> = users.as_array().unwrap().iter().map(|user| &user["id"]).collect();
    assert_eq!(ids, [1, 2, 4, 5, 6, 7]);
    assert_eq!(users[5], json!({ "id": 7, "name": "user 7", "born": "2001-02-03" }));
    assert_eq!(http::get(home.address, "/users/3", &[]).await.unwrap().status, 410);
    process.signal(Signal::TERM);
    succeeded(finish(process));
    // Nothing of it is read again.
    let process = start(&home, &[("INTAKE", "open")]).await;
    let objects = http::get(home.address, "/objects", &[]).await.unwrap().json();
    let objects = objects.as_array().unwrap();
    assert!(objects.len() == 6 && objects.iter().all(|object| object["state"] == "done"));
    process.signal(Signal::TERM);
    finish(process);
}

#[tokio::test]
async fn record_that_is_not_valid_is_named_and_left_out() {
    let home = home();
    let process = start(&home, &[("INTAKE", "open")]).await;
    let long = json!({ "id": 4, "name": "x".repeat(31) });
    let body = format!("{}\n{{\"id\":\"x\"}}\n{{\n{long}\n", user(1));
    let answer = post(home.address, &[LINES, WAIT], body.clone()).await.unwrap();
    let view = answer.json();
    assert_eq!((answer.status, &view["lines"], &view["invalid"]), (200, &json!(1), &json!(3)));
    let named = view["invalid_records"].as_array().unwrap();
    let reasons: Vec<_> = named.iter().map(|one| (&one["line"], &one["reason"])).collect();
    assert_eq!(
        reasons,
        [
            (&json!(2), &json!("wrong_type")),
            (&json!(3), &json!("invalid_json")),
            (&json!(4), &json!("invalid_value")),
        ]
    );
    let strict = ("prefer", "handling=strict");
    for (headers, body, status, detail) in [
        (&[LINES, strict][..], &*body, 422, "a record is not valid"),
        (&[JSON], "{\"id\":1}", 422, "no record is valid"),
        (&[JSON], "", 422, "no record is valid"),
        (&[JSON], "[{\"id\":1,\"name\":\"a\"}", 400, "the body is not what its type says"),
        (&[LINES, ("content-encoding", "gzip")], "no gzip", 400, "the body cannot be read"),
        (&[LINES, ("content-encoding", "br")], "", 415, "gzip, zstd or identity"),
        (&[("content-type", "text/plain")], "{}", 415, "must be application/json"),
        (&[], "{}", 415, "must be application/json"),
        (&[JSON, ("idempotency-key", "")], "{}", 400, "Idempotency-Key must have 1 to 255"),
    ] {
        let answer = post(home.address, headers, body.to_owned()).await.unwrap();
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        let shown = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(shown.contains(detail), "{body}: {shown}");
    }
    let unknown = http::post(home.address, "/nothing", &[JSON], Full::<Bytes>::default()).await;
    assert_eq!(unknown.unwrap().status, 404);
    let objects = http::get(home.address, "/objects", &[]).await.unwrap().json();
    assert_eq!(objects.as_array().unwrap().len(), 1, "nothing else was written");
    process.signal(Signal::TERM);
    succeeded(finish(process));
}

#[tokio::test]
async fn nobody_posts_unless_it_is_allowed() {
    let home = home();
    fs::create_dir(home.folder.path().join("samples")).unwrap();
    home.put("users.jsonl", 0, user(7).as_bytes());
    let process = start(&home, &[]).await;
    let answer = post(home.address, &[JSON], user(1)).await.unwrap();
    assert_eq!(answer.status, 403);
    assert!(answer.json()["detail"].as_str().unwrap().contains("INTAKE=open"), "{}", answer.body);
    process.signal(Signal::TERM);
    finish(process);
    let mut command = home.command(&[]);
    command.env("INTAKE", "open").env("LISTEN", "0.0.0.0:0");
    let process = Process::start(command, &home.folder.path().join("log")).unwrap();
    let output = failed(finish(process));
    assert!(output.contains("INTAKE=open lets everybody write"), "{output}");

    let keys = |arguments: &[&str]| {
        let output = home.command(&[&["keys", "create"], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim())
    };
    let (reader, writer) = (keys(&["reader"]), keys(&["writer", "--role", "write"]));
    let other = keys(&["other", "--role", "write", "--of", "others"]);
    let process = start(&home, &[("API_KEYS", "true"), ("INTAKE_STORE", "./posts")]).await;
    for (key, status) in [(&*reader, 403), (&other, 404), (&writer, 202), ("", 401)] {
        let headers = [JSON, ("authorization", key)];
        assert_eq!(post(home.address, &headers, user(1)).await.unwrap().status, status, "{key}");
    }
    process.signal(Signal::TERM);
    finish(process);
}

/// An installation with an intake for everybody on this machine.
async fn deployment(name: &str) -> Deployment {
    let mut deployment = Deployment::shared(name).await;
    fs::write(deployment.folder().join("users.toml"), USERS).unwrap();
    let declarations = deployment.folder().join("users.toml").display().to_string();
    for (name, value) in [
        ("DATASETS", &*declarations),
        ("SOURCE", &format!("users=s3://{BUCKET}/files/")),
        ("INTAKE", "open"),
        ("INTAKE_STORE", &format!("s3://{BUCKET}/intake/")),
        ("WATCH", "1h"),
    ] {
        deployment.set(name, value);
    }
    succeeded(finish(deployment.start("jetline-migrate")));
    deployment
}

/// What the ledger has of posts: their objects, and all records of the dataset by id.
async fn users(address: SocketAddr) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut path = "/users?limit=1000".to_owned();
    loop {
        let page = http::get(address, &path, &[]).await.unwrap();
        let json = page.json();
        ids.extend(json.as_array().unwrap().iter().map(|user| user["id"].as_u64().unwrap()));
        let Some(link) = page.headers.get("link") else { return ids };
        let query = link.to_str().unwrap().trim_start_matches('<');
        path = format!("/users{}", query.split('>').next().unwrap());
    }
}

#[tokio::test]
async fn same_key_is_the_same_post_at_any_api() {
    let deployment = deployment("same-key").await;
    let _loading = (deployment.start("jetline-fetcher"), deployment.writers(1));
    let (first, one) = deployment.serve("jetline-api").await;
    let (_second, two) = deployment.serve("jetline-api").await;
    let key = ("idempotency-key", "\"key 1\"");
    let body = format!("{}\n{}\n", user(1), user(2));
    // Both at a time, and several at each: one of them is written.
    let posts = (0..20).map(|number| {
        let address = [one, two][number % 2];
        let body = body.clone();
        async move { post(address, &[LINES, key], body).await.unwrap() }
    });
    let mut ids = Vec::new();
    for answer in join_all(posts).await {
        match answer.status {
            202 => ids.push(answer.json()["id"].clone()),
            status => assert_eq!(status, 409, "{}", answer.body),
        }
    }
    assert!(ids.len() >= 2, "{ids:?}");
    let again = post(two, &[LINES, key, WAIT], body.clone()).await.unwrap();
    assert_eq!((again.status, &again.json()["id"]), (200, &ids[0]));
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let other = post(one, &[LINES, key], user(3)).await.unwrap();
    assert_eq!(other.status, 422, "{}", other.body);
    assert!(other.body.contains("was used for another body"), "{}", other.body);
    // A restart forgets nothing.
    first.signal(Signal::KILL);
    let (_third, three) = deployment.serve("jetline-api").await;
    let again = post(three, &[LINES, key], body).await.unwrap();
    assert_eq!((again.status, &again.json()["id"]), (202, &ids[0]));
    let objects = http::get(three, "/objects", &[]).await.unwrap().json();
    assert_eq!(objects.as_array().unwrap().len(), 1, "{objects}");
    assert_eq!(users(three).await, [1, 2]);
    // What was not registered was deleted.
    assert_eq!(deployment.s3.keys(BUCKET).len(), 1);
}

/// A body in blocks; after some of them it may fail.
fn slow(
    blocks: usize,
    lines: usize,
    fails: bool,
) -> StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, &'static str>>> {
    let blocks = stream::iter(0..blocks).then(move |number| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let ids = number * lines + 1..=(number + 1) * lines;
        Ok(Frame::data(Bytes::from(ids.map(|id| user(id) + "\n").collect::<String>())))
    });
    let end = stream::iter(fails.then_some(Err("the client goes away")));
    StreamBody::new(blocks.chain(end).boxed())
}

#[tokio::test]
async fn long_body_of_a_slow_client_is_one_object_and_one_that_ends_early_is_none() {
    const BLOCKS: usize = 400;
    const LINES_EACH: usize = 2_000;
    let deployment = deployment("slow-client").await;
    let _loading = (deployment.start("jetline-fetcher"), deployment.writers(2));
    let (api, address) = deployment.serve("jetline-api").await;
    let body = slow(BLOCKS, LINES_EACH, true);
    assert!(http::post(address, "/users", &[LINES], body).await.is_err());
    let body = slow(BLOCKS, LINES_EACH, false);
    let headers = [LINES, ("prefer", "wait=60"), ("idempotency-key", "long")];
    let answer = http::post(address, "/users", &headers, body).await.unwrap();
    let view = answer.json();
    assert_eq!(view["lines"], BLOCKS * LINES_EACH, "{view}");
    let location = format!("/{}", answer.headers["location"].to_str().unwrap());
    until("it is loaded", async || {
        let post = http::get(address, &location, &[]).await.ok()?;
        (post.json()["state"] == "done").then_some(())
    })
    .await;
    let count = http::get(address, "/objects", &[]).await.unwrap().json();
    assert_eq!(count[0]["inserted"], BLOCKS * LINES_EACH, "{count}");
    assert_eq!(count.as_array().unwrap().len(), 1, "{count}");
    let memory = Usage::of(api.id(), Scope::Alone).unwrap().peak_bytes;
    assert!(memory < 150 << 20, "{memory} bytes of memory");
    assert_eq!(deployment.s3.keys(BUCKET).len(), 1);
    assert_eq!(deployment.s3.open_uploads(), 0);
    // Of a record that comes byte by byte, no byte takes the memory of a block.
    let spaces =
        stream::iter((0..400_000).map(|_| Ok::<_, &str>(Frame::data(Bytes::from_static(b" ")))));
    let body = StreamBody::new(spaces.boxed());
    let answer = http::post(address, "/users", &[JSON], body).await.unwrap();
    assert_eq!(answer.status, 422, "{}", answer.body);
    let memory = Usage::of(api.id(), Scope::Alone).unwrap().peak_bytes;
    assert!(memory < 150 << 20, "{memory} bytes of memory");
}

/// Objects that the ledger lost, as after a restore, are registered by a source that names them, and by no other.
#[tokio::test]
async fn object_of_the_intake_is_listed_only_where_it_is_named() {
    let mut deployment = deployment("lost-posts").await;
    deployment.put("intake/users/2026-11-27/1.jsonl", 0, user(1).as_bytes());
    deployment.put("files/2.jsonl", 0, user(2).as_bytes());
    deployment.unset("WATCH");
    let _writers = deployment.writers(1);
    for (source, ids) in [
        (format!("users=s3://{BUCKET}"), &[2][..]),
        (format!("users=s3://{BUCKET}/intake/users/"), &[1, 2]),
    ] {
        deployment.set("SOURCE", &source);
        succeeded(deployment.fetch());
        let (_api, address) = deployment.serve("jetline-api").await;
        assert_eq!(users(address).await, ids, "{source}");
    }
    deployment.unset("SOURCE");
    let replay = ["replay", "--object", "2", "--dry-run"];
    succeeded(finish(deployment.start_with("jetline-fetcher", &replay)));
}

/// Posts users one after another, each until it is acknowledged.
async fn post_until_acknowledged(
    addresses: [SocketAddr; 2],
    client: usize,
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<u64> {
    let mut ids = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let id = client * 1_000_000 + ids.len();
        let key = format!("{client}-{}", ids.len());
        for attempt in 0.. {
            let address = addresses[(client + attempt) % 2];
            let headers = [JSON, ("idempotency-key", &*key)];
            let posting = post(address, &headers, user(id));
            match tokio::time::timeout(Duration::from_secs(20), posting).await {
                Ok(Some(answer)) if answer.status == 202 => break,
                Ok(Some(answer)) => assert!([409, 503].contains(&answer.status), "{}", answer.body),
                // The api was killed.
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
        ids.push(id as u64);
    }
    ids
}

/// Nothing that was acknowledged is lost, and nothing is there twice.
#[tokio::test]
async fn acknowledged_record_survives_the_death_of_apis_and_of_the_store() {
    const CLIENTS: usize = 16;
    let mut deployment = deployment("killed-apis").await;
    let _loading = (deployment.start("jetline-fetcher"), deployment.writers(1));
    let port = || free_port().unwrap();
    let addresses = [port(), port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let serve = |deployment: &Deployment, at: usize| {
        deployment.start_with("jetline-api", &["--listen", &addresses[at].to_string()])
    };
    let mut apis = [serve(&deployment, 0), serve(&deployment, 1)];
    let (is_over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|client| {
            let (is_over, acknowledged) = (is_over.clone(), acknowledged.clone());
            tokio::spawn(post_until_acknowledged(addresses, client, is_over, acknowledged))
        })
        .collect();
    let more = async |count: usize| {
        let wanted = acknowledged.load(Ordering::Relaxed) + count;
        until("more is acknowledged", async || {
            (acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    };
    for round in 0..6 {
        more(100).await;
        let at = round % 2;
        apis[at].signal(Signal::KILL);
        apis[at].wait(TIMEOUT).unwrap();
        apis[at] = serve(&deployment, at);
    }
    more(100).await;
    deployment.s3.stop();
    let refused = until("the store is missed", async || {
        let answer = post(addresses[0], &[JSON], user(1)).await?;
        (answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains("post them again"), "{}", refused.body);
    deployment.s3.start_again().unwrap();
    more(100).await;
    is_over.store(true, Ordering::Relaxed);
    let mut expected: Vec<u64> =
        join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    expected.sort_unstable();
    until("all of it is loaded", async || {
        let found = users(addresses[0]).await;
        let found: Vec<u64> = found.into_iter().filter(|id| *id > 1).collect();
        (found == expected).then_some(())
    })
    .await;
    let sql = "SELECT idempotency_key AS text FROM intake WHERE idempotency_key IS NOT NULL";
    let keys = deployment.ledger.texts(sql).await.unwrap();
    assert_eq!(keys.len(), expected.len(), "each key is one post");
}
