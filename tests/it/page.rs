//! The status page in a browser.

use std::{collections::BTreeSet, time::Duration};

use fantoccini::Locator;
use jetline_testkit::{
    http,
    process::Process,
    s3::{Fault, S3Server},
};
use serde_json::json;

use crate::{
    browser::Browser,
    deployment::{BUCKET, program, terminate},
    standalone::Home,
    wait::until,
};

fn product(id: u32) -> String {
    let record = json!({
        "id": id, "title": format!("Kettle {id}"), "price": 20, "category": "kitchen", "brand": "Pottergate",
        "url": format!("https://shop.example.com/{id}"), "description": "Holds 1.7 litres.",
    });
    format!("{record}\n")
}

fn products(ids: std::ops::Range<u32>) -> String {
    ids.map(product).collect()
}

async fn serve(home: &Home, s3: &S3Server) -> Process {
    let source = format!("s3://{BUCKET}");
    let small = [("CHUNK_BYTES", "16KiB"), ("S3_PART_SIZE", "64KiB"), ("S3_PARALLEL_PARTS", "1")];
    let small = small.map(|(name, value)| (name, value.to_owned()));
    let settings = s3.settings().into_iter().chain(small);
    home.serve(&["--source", &source, "--watch", "500ms"], settings).await
}

#[tokio::test]
async fn load_is_watched_and_its_rejects_and_records_are_found() {
    let (home, s3) = (Home::new(), S3Server::start().unwrap());
    s3.create_bucket(BUCKET);
    s3.put(BUCKET, "first.jsonl", format!("{}{{\"id\":\"<b>bold</b>\"}}\n", products(1..50)));
    let process = serve(&home, &s3).await;
    let url = |path: &str| format!("http://{}{path}", home.address);
    let browser = Browser::wide().await;
    browser.open(&url("/")).await;
    until("the first object is done", async || {
        (browser.text("#figures div:nth-child(3) dd").await == "1").then_some(())
    })
    .await;

    // A load that takes some seconds is seen without loading the page again.
    browser.run("window.isSame = true").await;
    let trickle = Fault::Trickle { block: 8 << 10, every: Duration::from_millis(60) };
    s3.fail_next_gets(20, &trickle);
    s3.put(BUCKET, "second.jsonl", products(50..5_000));
    let mut seen = BTreeSet::new();
    until("the second object is done", async || {
        let value =
            browser.run("return document.querySelector('#open progress.committed')?.value").await;
        seen.extend(value.as_f64().map(|value| value.to_string()));
        if seen.len() == 4 {
            browser.picture("overview.png").await;
        }
        (browser.text("#figures div:nth-child(3) dd").await == "2").then_some(())
    })
    .await;
    assert!(seen.len() > 3, "{seen:?}");
    assert_eq!(browser.run("return window.isSame").await, true);
    assert_eq!(browser.text("#verdicts tbody td").await, "5,000");
    assert_eq!(browser.text("#latest tbody tr:nth-child(1) td").await, "second.jsonl");
    browser.assert_accessible().await;

    // The rejected record.
    browser.click("nav li:nth-child(2) a").await;
    browser.assert_accessible().await;
    browser.click("input[name=rejects]").await;
    browser.click(".filter button").await;
    let rows = browser.client.find_all(Locator::Css("tbody tr")).await.unwrap();
    assert_eq!(rows.len(), 1);
    browser.click("tbody th a").await;
    assert_eq!(browser.text("h1").await, "Object 1");
    browser.assert_accessible().await;
    browser.picture("object.png").await;
    browser.click("tbody th a").await;
    assert_eq!(browser.text("pre").await, "{\"id\":\"<b>bold</b>\"}");
    assert!(browser.text(".facts").await.contains("wrong_type"));
    browser.assert_accessible().await;

    // A record, by its key.
    browser.click("nav li:nth-child(3) a").await;
    browser.assert_accessible().await;
    browser.click("tbody th a").await;
    browser.assert_accessible().await;
    browser.picture("dataset.png").await;
    browser.click("a[rel=next]").await;
    assert_eq!(browser.text("tbody th").await, "51");
    browser.find("input[name=key]").await.send_keys("4711").await.unwrap();
    browser.click(".filter button").await;
    let facts = browser.text("main").await;
    assert!(facts.contains("Kettle 4711") && facts.contains("second.jsonl"), "{facts}");
    browser.assert_accessible().await;

    // The skip link is the first stop of the keyboard.
    browser.client.active_element().await.unwrap().send_keys("\u{e004}").await.unwrap();
    assert_eq!(browser.run("return document.activeElement.className").await, "skip");
    browser.close().await;

    let phone = Browser::phone().await;
    for path in ["/", "/-/objects", "/-/objects/1", "/-/datasets/products", "/-/deliveries"] {
        phone.open(&url(path)).await;
        let is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches";
        assert_eq!(phone.run(is_dark).await, true);
        phone.assert_accessible().await;
        if path == "/" {
            phone.picture("phone.png").await;
        }
    }
    phone.close().await;
    terminate(process);
}

#[tokio::test]
async fn admin_replays_from_the_page() {
    let home = Home::new();
    home.put("a.jsonl", 0, products(1..10).as_bytes());
    let mut hashing = program("jetline-api");
    hashing.args(["hash-password", "root", "--role", "admin"]);
    let users = home.folder.path().join("users");
    std::fs::write(home.folder.path().join("password"), "x").unwrap();
    hashing.stdin(std::fs::File::open(home.folder.path().join("password")).unwrap());
    std::fs::write(&users, hashing.output().unwrap().stdout).unwrap();
    let process = home.start_with(&["--watch", "500ms"], [("USERS_FILE", &users)]);
    let headers = [("authorization", "Basic cm9vdDp4"), ("sec-fetch-site", "same-origin")];
    let done = async || {
        let answer = http::get(home.address, "/objects?state=done", &headers).await.ok()?;
        let objects = (answer.status == 200).then(|| answer.json())?;
        Some(objects.as_array()?.first()?["done_at"].as_str()?.to_owned())
    };
    let first = until("it is loaded", done).await;
    let plan = http::get(home.address, "/-/objects/1/replay", &headers).await.unwrap();
    let words = "1 objects with";
    assert!(
        plan.body.contains(words) && plan.body.contains("nothing was changed"),
        "{}",
        plan.body
    );
    assert_eq!(done().await.as_ref(), Some(&first));
    let body = http_body_util::Full::<bytes::Bytes>::default();
    let path = "/-/objects/1/replay";
    let answer = http::post(home.address, path, &headers, body).await.unwrap();
    assert_eq!(
        (answer.status, &answer.headers["location"]),
        (303, &"../../../-/objects/1?done=replayed".parse().unwrap())
    );
    until("it is loaded again", async || done().await.filter(|again| *again != first)).await;
    terminate(process);
}
